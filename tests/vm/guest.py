"""The guest of tests: a Debian 13 system with systemd and control groups, in which pytest runs.

    python -m tests.vm.guest run tests/guest -k slivers    # in the kept guest if there is one, else a new one
    python -m tests.vm.guest keep                          # boots one and keeps it until interrupted

Each run brings the tree as it is now, with its metadata, so that entry points are found as on a node.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.make import make_image
from images.sources.archive import ArchiveSource
from images.store import BlobStore
from tests.vm.harness import media
from tests.vm.harness.accelerator import accelerator
from tests.vm.harness.artifacts import BUILD, IMAGES, ROOT
from tests.vm.harness.hardware import DirectKernel, Disk, Hardware
from tests.vm.harness.machine import Machine
from tests.vm.harness.ssh import Shell, free_port, make_key

FOLDER = BUILD / "guest"
KEPT = FOLDER / "kept.json"
PROJECT = "/root/project"
# Where tests find the slivers' image; tests/guest/conftest.py.
STORE = "/var/tmp/store"
# What Python compiles outlives the tree, which is brought anew for each run.
COMPILED = "/root/compiled"
MEMORY_MIB = 4096
BOOT_SECONDS = 900.0
TEST_SECONDS = 2 * 3600.0
_ARGUMENTS = (
    "root=/dev/vda rw console=ttyS0,115200 quiet loglevel=4 systemd.show_status=false "
    "init_on_alloc=0 mitigations=off no_timer_check "
    # Emulated on a busy host, half a boot may take longer than systemd waits for anything.
    "systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900"
)


@contextmanager
def booted(folder: Path, memory_mib: int = MEMORY_MIB) -> Iterator[Shell]:
    """Boot a guest with a fresh disk and a blank one of 4 GiB (vdb) for the length of the block."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    index = json.loads((IMAGES / "index.json").read_text())
    disk, kernel, initrd = (
        IMAGES / index[name]["path"] for name in ("guest.qcow2", "guest-vmlinuz", "guest-initrd")
    )
    system = media.layered(folder / "system.qcow2", disk, "qcow2")
    blank = media.blank(folder / "blank.img", 4096)
    key = make_key(folder)
    hardware = Hardware(
        DirectKernel(kernel, initrd, _ARGUMENTS),
        (Disk("system", system, "SYSTEM01", format="qcow2"), Disk("blank", blank, "BLANK01")),
        memory_mib,
        smp=2,
        forwards=((22, free_port()),),
        credentials=(("ssh.authorized_keys.root", Path(f"{key}.pub").read_text()),),
    )
    with Machine(hardware, folder / "logs", accelerator(BUILD)) as machine:
        machine.power_on()
        shell = Shell(hardware.forwards[0][1], key)
        _wait_for(shell, machine)
        yield shell


def _wait_for(shell: Shell, machine: Machine) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while machine.is_on and time.monotonic() < deadline:
        # Asks until all units have started: 1 is "degraded", which is for the tests to mind.
        said = shell.run("systemctl is-system-running --wait", timeout=BOOT_SECONDS)
        if said.returncode in (0, 1):
            return
        time.sleep(1)
    end = machine.console()[-2000:]
    raise RuntimeError(f"waited {BOOT_SECONDS:.0f} s for ssh into the guest; end of its console: {end}")


def bring(shell: Shell) -> None:
    """Copy the tree to the guest as it is now, in the place of what was brought before."""
    metadata = FOLDER / "metadata"
    shutil.rmtree(metadata, ignore_errors=True)
    metadata.mkdir(parents=True)
    line = ["-c", "from setuptools import setup; setup()", "-q", "egg_info", "--egg-base", str(metadata)]
    subprocess.run([sys.executable, *line], cwd=ROOT, check=True)
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
    # What git still lists may be deleted in the tree.
    there = b"\0".join(name for name in names.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists())
    pack = ["tar", "-cz", "--null", "-T", "-", "-C", str(metadata), "bootmanager.egg-info"]
    packed = subprocess.run(pack, cwd=ROOT, input=there, check=True, capture_output=True).stdout
    unpack = f"rm -rf {PROJECT} && mkdir {PROJECT} && tar -xz --no-same-owner -C {PROJECT}"
    subprocess.run(shell.argv(unpack), input=packed, check=True, timeout=120)
    _bring_image(shell)


def _bring_image(shell: Shell) -> None:
    """Copy the slivers' image there, made here: the guest would take minutes for it."""
    archive = IMAGES / json.loads((IMAGES / "index.json").read_text())["sliver.tar.zst"]["path"]
    store = BUILD / "guest-image" / archive.parent.name
    digest = store / "sliver.digest"
    if not digest.exists():
        shutil.rmtree(store.parent, ignore_errors=True)
        with ArchiveSource(archive) as source:
            digest.write_text(make_image("sliver", source, BlobStore(store)).digest)
    if shell.run(f"cat {STORE}/{digest.name}").stdout != digest.read_text():
        packed = subprocess.run(["tar", "-c", "-C", store, "."], check=True, capture_output=True).stdout
        unpack = f"rm -rf {STORE} && mkdir -p {STORE} && tar -x --no-same-owner -C {STORE}"
        subprocess.run(shell.argv(unpack), input=packed, check=True, timeout=300)


def run_tests(shell: Shell, arguments: list[str], junit: Path | None) -> int:
    """Run pytest there; what it says appears here. Returns its exit status."""
    bring(shell)
    quoted = " ".join(f"'{word}'" for word in ["--junit-xml=/root/junit.xml", *arguments])
    settings = f"BM_GUEST=1 PYTHONPYCACHEPREFIX={COMPILED}"
    inside = f"cd {PROJECT} && {settings} python3 -m pytest -q -p no:cacheprovider {quoted}"
    status = subprocess.run(shell.argv(inside), stdin=subprocess.DEVNULL, timeout=TEST_SECONDS).returncode
    if junit is not None:
        junit.write_text(shell.output("cat /root/junit.xml"))
    return status


def keep() -> None:
    """Boot a guest for many runs, until this process is told to end."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with booted(FOLDER / "kept") as shell:
        KEPT.write_text(json.dumps({"pid": os.getpid(), "port": shell.port, "key": str(shell.key)}))
        print(" ".join(shell.argv()), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("off")
        finally:
            KEPT.unlink()


def _kept() -> Shell | None:
    try:
        known = json.loads(KEPT.read_text())
        os.kill(known["pid"], 0)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Shell(known["port"], Path(known["key"]))


def main() -> int:
    """Run tests in a guest, or keep one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "keep"])
    parser.add_argument("--junit-xml", type=Path, help="where the result goes")
    options, arguments = parser.parse_known_args()
    if options.what == "keep":
        keep()
        return 0
    arguments = arguments or ["tests/guest"]
    kept = _kept()
    if kept is not None:
        return run_tests(kept, arguments, options.junit_xml)
    with booted(FOLDER / "once") as shell:
        return run_tests(shell, arguments, options.junit_xml)


if __name__ == "__main__":
    sys.exit(main())
