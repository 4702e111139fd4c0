"""A machine of tests/machines as umockdev shows it, to be run by umockdev-run: prints what is recorded there.

Whole disks are files without content, as large as the disks; drivers are in the modules that they are in.
"""

import json
import os
import sys
from pathlib import Path

from host import memory
from host.run import Runner
from hwdetect import recording
from hwdetect.recording import SECURE_BOOT, record
from tests.recorded_machines import FOLDER, MODULES, read_dump
from wire.structure import dump_json

# Where the sandbox is; what is opened below it is not led there once more.
SANDBOX = Path(os.environ["UMOCKDEV_DIR"])


class Sandboxed(Runner):
    """Runs commands outside of the sandbox, on what is in it."""

    def __call__(self, argv, **options):
        words = [str(SANDBOX / word[1:]) if str(word).startswith("/dev/") else word for word in argv]
        return super().__call__(words, **options)


def furnish(dump):
    for device in dump.values():
        if device.properties.get("SUBSYSTEM") == "block" and device.node:
            node = SANDBOX / "dev" / device.node
            node.unlink()
            node.touch()
            os.truncate(node, int(device.attributes["size"]) * 512)
        link = device.links.get("driver")
        if link:
            driver = (SANDBOX / "sys" / device.path[1:] / link).resolve()
            driver.mkdir(parents=True, exist_ok=True)
            module = MODULES.get(device.driver)
            if module:
                (SANDBOX / "sys/module" / module).mkdir(parents=True, exist_ok=True)
                (SANDBOX / "sys/module" / module / "initstate").touch()
                (driver / "module").unlink(missing_ok=True)
                (driver / "module").symlink_to(SANDBOX / "sys/module" / module)


def put(place, facts):
    """What the firmware says, in sysfs."""
    for name, text in facts["dmi"].items():
        (place / "class/dmi/id").mkdir(parents=True, exist_ok=True)
        (place / "class/dmi/id" / name).write_text(text + "\n")
    if facts["efi"]:
        (place / SECURE_BOOT.relative_to("/sys")).parent.mkdir(parents=True)
        (place / SECURE_BOOT.relative_to("/sys")).write_bytes(bytes([6, 0, 0, 0, facts["secure_boot"]]))


def main(name):
    facts = json.loads((FOLDER / name / "facts.json").read_text())
    furnish(read_dump((FOLDER / name / "machine.umockdev").read_text()))
    put(SANDBOX / "sys", facts)
    # What is mounted and how much memory there is are this machine's, and nothing that udev tells.
    recording.mounts_text = lambda: facts["mounts"]
    memory.total = lambda: facts["memory_bytes"]
    print(dump_json(record(Sandboxed())))


main(sys.argv[1])
