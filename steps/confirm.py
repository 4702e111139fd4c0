"""Ask the technician before something is destroyed.

`confirm_new` asks always, `confirm_used` only when a disk that would be written is not blank and was
not begun in this very run: after a power cut nobody is asked twice. A yes is for the disks that the
question named, with what it said was on them, and for no others: what a run writes can change before it
is over, and so can the disks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from host.files import write_atomic
from host.storage import Layout
from host.texts import _
from hwdetect.disks import needs_confirmation
from hwdetect.inventory import Disk, Inventory
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import ConfigurationError
from wire.structure import MalformedMessage, dump_json, structure_json

YES = "yes"


class Declined(ConfigurationError):
    """The technician did not say yes."""

    code = "declined"
    title = "The installation was declined at the console"
    hint = "Nothing was written. To be asked again: `bootmanager retry` on the node, or set the state again."


@dataclass(frozen=True)
class GivenUp:
    """A disk that a technician gave up: what tells it from others, and what they were shown to be on it.

    `path` is "" for a disk with a serial number or WWN, which is the same one by any path.
    """

    path: str
    model: str
    serial: str
    wwn: str
    size_bytes: int
    content: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """What the last yes was for. Blank disks are not in it: of what comes onto them later nobody was told."""

    disks: tuple[GivenUp, ...]


class ConfirmUsed(Step):
    """The technician agrees that disks which hold something are overwritten."""

    name = "confirm_used"
    title = "Ask before disks that hold data are overwritten"
    effect = Effect.CHANGES
    needs = (Inventory, Layout)

    def observe(self, context: Context) -> Observation:
        asked_about = self._asked_about(context)
        if asked_about is None or _agreed(context, asked_about):
            return holds()
        return lacks(Change(Keeps.KEEP, _("technician"), _question(asked_about)))

    def run(self, context: Context) -> None:
        asked_about = self._asked_about(context) or ()
        question = _question(asked_about)
        answer = context.host.console.ask(
            _(
                "\n{question}\nType {yes} and Enter to go on, anything else to stop; this waits for ever:",
                question=question,
                yes=YES,
            ),
            listening=lambda: context.host.events.tell("confirm.asked", question=question),
        )
        context.host.events.tell("confirm.answered", answer=YES if answer.lower() == YES else "no")
        if answer.lower() != YES:
            raise Declined(question)
        write_atomic(_record(context), dump_json(Agreement(tuple(_given_up(disk) for disk in asked_about))))

    def _asked_about(self, context: Context) -> tuple[Disk, ...] | None:
        """Return the disks to ask about, None where nothing need be asked."""
        return needs_confirmation(context.facts[Layout], context.facts[Inventory]) or None


class ConfirmNew(ConfirmUsed):
    """The technician agrees that this machine becomes a node."""

    name = "confirm_new"
    title = "Ask whether to install this machine"

    def _asked_about(self, context: Context) -> tuple[Disk, ...] | None:
        layout = context.facts[Layout]
        begun = all(disk.claimed_by_this_run for disk in (layout.system, *layout.data))
        return None if begun else needs_confirmation(layout, context.facts[Inventory])


def _question(disks: tuple[Disk, ...]) -> str:
    if not disks:
        return _("Install this machine as a node? Its disks are blank.")
    lost = "; ".join(f"{disk.path} ({disk.model} {disk.serial}: {', '.join(disk.content)})" for disk in disks)
    return _("Install and DESTROY what is on {disks}?", disks=lost)


def _agreed(context: Context, disks: tuple[Disk, ...]) -> bool:
    """Say whether a yes covers these disks. It may cover more: a disk that was begun is not asked about."""
    try:
        agreement = structure_json(_record(context).read_bytes(), Agreement)
    except (OSError, MalformedMessage):
        # There is none, or nobody can say what it was for.
        return False
    return all(_given_up(disk) in agreement.disks for disk in disks)


def _given_up(disk: Disk) -> GivenUp:
    # All that it says of itself: volumes of one array share a serial number, cheap bridges too.
    path = "" if disk.serial or disk.wwn else disk.path
    return GivenUp(path, disk.model, disk.serial, disk.wwn, disk.size_bytes, disk.content)


def _record(context: Context) -> Path:
    return context.host.state_dir / f"confirmed-{context.facts[Layout].run_id}"
