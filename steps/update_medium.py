"""Start a newer boot medium from the dongle; tell, when it has started, that it reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from host.boot import Chain, ChainHow
from host.http import http_of
from host.memory import available
from host.mounts import mounted
from host.options import KERNEL_COMMAND_LINE
from host.server import ServerClient
from host.texts import _
from hwdetect.media import Media, own_medium
from images.cache import Cache
from images.fetch import pins
from images.manifest import Manifest
from images.medium_trial import Trial, Trials
from images.own import own_manifests
from images.plan import has_all
from images.source import source_of
from images.trust import ImageTrust, SignedImages
from images.unpack import load_manifest, prefetch, unpack
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.errors import BootError, CommandError, ConfigurationError, UnsupportedHardware, VerificationError
from wire.medium import IMAGE, KERNEL, RAMDISK, Medium
from wire.messages import NodeDetails
from wire.nodeconf import EnrolmentConfiguration, NodeConfiguration
from wire.trust import TrustedRoot

_MIB = 1024 * 1024
# kexec_file_load(2) reads kernel and ramdisk into memory, and copies them from there to other pages: with the
# files themselves that is three times. The new system takes less.
COPIES = 3
SPARE_BYTES = 64 * _MIB
LOAD_SECONDS = 600.0


class MediumNotReported(VerificationError):
    """The newer medium was started on this node and did not get to its check-in."""

    code = "medium-not-reported"
    title = "The newer boot medium was started here, and did not report"
    hint = "See what this node told of that boot; publish a newer one: bootserver media publish ISO."


class MediumNeedsMemory(UnsupportedHardware):
    """The machine has too little memory for two systems at a time."""

    code = "medium-needs-memory"
    title = "There is too little memory to start the newer boot medium from this one"
    hint = "Write the newer medium onto what is plugged in: from there it needs less."


class MediumNotKept(ConfigurationError):
    """The dongle cannot take the newer medium, or note that it is tried."""

    code = "medium-not-kept"
    title = "The dongle cannot keep the newer boot medium"
    hint = "Plug in a larger one; docs/images.md has what becomes of the room on it."


@dataclass(frozen=True)
class Untouched:
    """Nobody has chosen anything for this boot: no state in the boot menu, nothing in debug mode."""


class UpdateMedium(Step):
    """No boot medium is known that is newer than the one that runs, or such a one is ready to be started.

    The server has just answered, so it is also known of the one that runs that it reports. Whatever is wrong
    with a newer one is told and stops nothing: the node goes on with what it was started from.
    """

    name = "update_medium"
    title = "Look for a newer boot medium"
    effect = Effect.CHANGES
    needs = (Media, NodeConfiguration, TrustedRoot, NodeDetails, Cache, ServerClient)

    def __init__(self) -> None:
        # What failed leaves no trace that a second look could find.
        self._is_done = False
        self._ready: tuple[Chain, ...] = ()

    def observe(self, context: Context) -> Observation:
        own = own_medium() if context.facts[Media].fetched is None else None
        if self._is_done or own is None:
            return holds(*self._ready)
        if _trials(context).of(own.made).tries:
            return lacks(Change(Keeps.KEEP, _("dongle"), _("it is noted that this boot medium reports")))
        try:
            newer = _newer(context, own)
        except BootError as error:
            _tell_kept(context, error)
            newer = None
        if newer is None:
            return holds()
        text = _(
            "the boot medium of {newer} is started in place of that of {own}",
            newer=_day(newer.named(IMAGE).made),
            own=_day(own.made),
        )
        return lacks(Change(Keeps.CREATE, _("memory"), text))

    def run(self, context: Context) -> None:
        self._is_done = True
        own = own_medium()
        if own is None:
            return
        _note_report(context, own)
        try:
            signed = _newer(context, own)
            if signed is not None:
                _get_ready(context, signed)
                self._ready = (Chain(ChainHow.MEDIUM),)
        except (BootError, OSError) as error:
            _tell_kept(context, error)


def _note_report(context: Context, own: Medium) -> None:
    trials = _trials(context)
    if trials.of(own.made).tries and trials.note(Trial(own.made, reported=True)):
        context.host.events.tell("medium.reported", made=own.made)


def _newer(context: Context, own: Medium) -> SignedImages | None:
    """Return what is signed now if that has a newer medium, and it may be started now.

    Raises MediumNotReported, what ImageTrust.refresh() raises.
    """
    facts, options = context.facts, context.host.options
    configuration, cache = facts[NodeConfiguration], facts[Cache]
    # An identity that was given for this boot is in this memory only. A classic server signs nothing.
    is_lasting = EnrolmentConfiguration not in facts and configuration.base_image is None
    # A machine that kexec hangs is one that `chain` says so of.
    may_leave = Untouched in facts and options.chain == ChainHow.KEXEC
    if not (is_lasting and may_leave and cache.stores):
        return None
    trust = ImageTrust(facts[TrustedRoot], cache, configuration.key)
    signed = trust.refresh(http_of(configuration), facts[ServerClient].server_now())
    newer = signed.images.get(IMAGE)
    if newer is None or newer.made <= own.made:
        return None
    if _trials(context).of(newer.made).is_over:
        raise MediumNotReported(f"that of {_day(newer.made)}; this one is of {_day(own.made)}")
    return signed


def _get_ready(context: Context, signed: SignedImages) -> None:
    """Bring the medium by way of the dongle, note that it is tried, and have the kernel take it.

    Raises MediumNeedsMemory, MediumNotKept, CommandError, and what fetching it raises.
    """
    facts, newer = context.facts, signed.named(IMAGE)
    details, cache = facts[NodeDetails], facts[Cache]
    cache.budget_bytes = details.cache_budget_mib * _MIB
    source = source_of(facts[NodeConfiguration], details)
    manifest, _moved = load_manifest(newer, source, cache)
    _check_memory(manifest)
    keep = pins([manifest, *own_manifests(details, signed, source, cache)])
    moved = prefetch(manifest, source, cache, context.progress, keep)
    context.host.events.tell("transfer", image=manifest.name, **asdict(moved))
    # Or it would be fetched at each boot.
    if not has_all(cache, manifest.digest):
        raise MediumNotKept(f"it has no room for {manifest.size // _MIB} MiB")
    size = f"size={manifest.data_bytes // _MIB + 16}m"
    with mounted(context.host.run, "tmpfs", fstype="tmpfs", options=("mode=0700", size)) as folder:
        unpack(manifest, folder, source, cache, context.progress, keep)
        _try(context, folder, newer.made)


def _try(context: Context, folder: Path, made: int) -> None:
    """Note that the medium is tried, and only then load it: whoever finds it loaded may start it."""
    trials = _trials(context)
    before = trials.of(made)
    if not trials.note(replace(before, tries=before.tries + 1)):
        raise MediumNotKept("it cannot be noted that this medium is tried")
    context.progress(None, _("loading its kernel"))
    arguments = KERNEL_COMMAND_LINE.read_text().strip()
    words: list[str | Path] = [f"--initrd={folder / RAMDISK}", f"--command-line={arguments}", folder / KERNEL]
    try:
        context.host.run(["kexec", "--kexec-file-syscall", "--load", *words], timeout=LOAD_SECONDS)
    except CommandError:
        trials.note(before)
        raise
    context.host.events.tell("medium.tried", made=made)


def _check_memory(manifest: Manifest) -> None:
    needed, there = COPIES * manifest.data_bytes + SPARE_BYTES, available()
    if there < needed:
        raise MediumNeedsMemory(f"{there // _MIB} MiB are free, {-(-needed // _MIB)} MiB are needed")


def _trials(context: Context) -> Trials:
    return Trials(context.facts[Cache], context.facts[NodeConfiguration].key)


def _tell_kept(context: Context, error: BootError | OSError) -> None:
    code, detail = (error.code, error.detail) if isinstance(error, BootError) else ("", str(error))
    context.host.events.tell("medium.kept", code=code, detail=detail)


def _day(made: int) -> str:
    return datetime.fromtimestamp(made, UTC).strftime("%Y-%m-%d %H:%M")
