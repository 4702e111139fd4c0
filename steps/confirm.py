"""Ask the technician before something is destroyed.

`confirm_new` asks always, `confirm_used` only when a disk that would be written is not blank and was
not begun in this very run: after a power cut nobody is asked twice.
"""

from __future__ import annotations

from pathlib import Path

from host.files import write_atomic
from host.storage import Layout
from host.texts import _
from hwdetect.disks import needs_confirmation
from hwdetect.inventory import Disk, Inventory
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import ConfigurationError

YES = "yes"


class Declined(ConfigurationError):
    """The technician did not say yes."""

    code = "declined"
    title = "The installation was declined at the console"
    hint = "Nothing was written. To be asked again: `bootmanager retry` on the node, or set the state again."


class ConfirmUsed(Step):
    """The technician agrees that disks which hold something are overwritten."""

    name = "confirm_used"
    title = "Ask before disks that hold data are overwritten"
    effect = Effect.CHANGES
    needs = (Inventory, Layout)

    def observe(self, context: Context) -> Observation:
        asked_about = self._asked_about(context)
        if asked_about is None or _record(context).exists():
            return holds()
        return lacks(Change(Keeps.KEEP, _("technician"), _question(asked_about)))

    def run(self, context: Context) -> None:
        question = _question(self._asked_about(context) or ())
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
        write_atomic(_record(context), "")

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


def _record(context: Context) -> Path:
    return context.host.state_dir / f"confirmed-{context.facts[Layout].run_id}"
