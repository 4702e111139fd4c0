"""Write what makes the unpacked system this node: name, network, file systems, modules, host keys."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

from host import network_files
from host.files import write_atomic
from host.filesystems import boot_uuid
from host.run import Runner
from host.target import (
    HOST_KEY,
    ROOT_DEVICE,
    ROOT_MODULES,
    SLIVERS_DEVICE,
    SLIVERS_FOLDER,
    SWAP_DEVICE,
    read_all_installed,
    target,
)
from host.texts import _
from hwdetect.inventory import Inventory
from steps.base import Change, Context, Effect, Keeps, Observation, Step, holds, lacks
from wire.handoff import PATH as HANDOFF_PATH
from wire.handoff import Handoff, dump_handoff
from wire.messages import NodeDetails
from wire.nodeconf import NodeConfiguration

FSTAB = f"""# Written by bootmanager.
{ROOT_DEVICE} / ext4 errors=remount-ro 0 1
UUID={{boot}} /boot ext4 nosuid,nodev 0 2
{SLIVERS_DEVICE} /{SLIVERS_FOLDER} ext4 nodev,prjquota 0 2
{SWAP_DEVICE} none swap sw 0 0
"""

# An empty half is none: what a power cut leaves of a file that was never synced.
_KEY_PAIR = (HOST_KEY.with_suffix(""), HOST_KEY)

INITRAMFS = """# Written by bootmanager: only what this machine's hardware needs.
MODULES=list
COMPRESS=zstd
COMPRESSLEVEL=1
"""


class Configure(Step):
    """The unpacked system carries this node's configuration."""

    name = "configure"
    title = "Configure the installed system"
    effect = Effect.CHANGES
    needs = (NodeConfiguration, NodeDetails, Inventory)

    def observe(self, context: Context) -> Observation:
        run = context.host.run
        wanted = _files(context)
        found = read_all_installed(run, (*wanted, *_KEY_PAIR))
        missing = [path for path, text in wanted.items() if found[path] != text]
        missing += [path for path in _KEY_PAIR if not found[path]]
        if not missing:
            return holds()
        return lacks(*(Change(Keeps.CREATE, f"/{path}", _("configuration of this node")) for path in missing))

    def run(self, context: Context) -> None:
        with target(context.host.run) as root:
            for path, text in _files(context).items():
                write_atomic(root / path, text)
            _make_host_keys(context.host.run, root)


def _make_host_keys(run: Runner, root: Path) -> None:
    """Give the tree the keys that its sshd is known by, durably, unless it has them whole."""
    found = [root / path for path in _KEY_PAIR]
    if all(path.is_file() and path.stat().st_size for path in found):
        return
    # ssh-keygen syncs nothing, and takes an empty public half for a whole one.
    with tempfile.TemporaryDirectory(prefix="bm-keys-") as scratch:
        made = Path(scratch) / HOST_KEY.parent
        made.mkdir(parents=True)
        run(["ssh-keygen", "-A", "-f", scratch])
        # The one that says to whoever looks that all are there goes first, and comes last.
        (root / HOST_KEY).unlink(missing_ok=True)
        for path in sorted(made.iterdir(), key=lambda path: path.name == HOST_KEY.name):
            mode = stat.S_IMODE(path.stat().st_mode)
            write_atomic(root / HOST_KEY.parent / path.name, path.read_bytes(), mode=mode)


def _files(context: Context) -> dict[Path, str]:
    """Return every file that this step writes, by its path below the root."""
    configuration = context.facts[NodeConfiguration]
    details = context.facts[NodeDetails]
    short = details.hostname.partition(".")[0]
    handoff = Handoff(
        run_id=details.run_id,
        node_id=details.node_id,
        hostname=details.hostname,
        server=configuration.server,
        authority=configuration.authority,
        images=(details.base_image, *details.images),
    )
    networks = network_files.render(configuration.network)
    return {
        Path("etc/hostname"): f"{details.hostname}\n",
        Path("etc/hosts"): f"127.0.0.1 localhost\n127.0.1.1 {details.hostname} {short}\n::1 localhost\n",
        Path("etc/fstab"): FSTAB.format(boot=boot_uuid(details.run_id)),
        **{network_files.INSTALLED_FOLDER / name: text for name, text in networks.items()},
        Path("etc/initramfs-tools/conf.d/bootmanager"): INITRAMFS,
        Path("etc/initramfs-tools/modules"): _modules(context.facts[Inventory]),
        Path("root/.ssh/authorized_keys"): "".join(f"{key}\n" for key in details.ssh_keys),
        HANDOFF_PATH: dump_handoff(handoff),
    }


def _modules(inventory: Inventory) -> str:
    return "\n".join(("# Written by bootmanager.", *ROOT_MODULES, *inventory.modules)) + "\n"
