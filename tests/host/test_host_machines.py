"""Live detection by the real pyudev, on machines that umockdev shows: what is seen is what was recorded."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hwdetect.inventory import inventory_of
from hwdetect.recording import Recording
from tests.recorded_machines import FOLDER, NAMES, expected_of, recording_of
from wire.structure import structure_json, unstructure

pytestmark = pytest.mark.host
ROOT = Path(__file__).parents[2]


def live(name):
    """What is recorded in a sandbox whose sysfs, udev database and device nodes are those of the dump."""
    dump = FOLDER / name / "machine.umockdev"
    inside = [sys.executable, "-m", "tests.host.umockdev_machine", name]
    done = subprocess.run(
        ["umockdev-run", f"--device={dump}", "--", *inside],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    return structure_json(done.stdout, Recording)


@pytest.mark.parametrize("name", NAMES)
def test_live_detection_and_replay_give_the_same_inventory(name):
    found, recorded = live(name), recording_of(name)
    # Processors and the kernel's log are this machine's, and disks have no content in the sandbox.
    whole = replace(found, cpus=recorded.cpus, readings=recorded.readings, firmware_log=recorded.firmware_log)
    assert whole == recorded
    blank = {reading.path: reading for reading in recorded.readings if reading.empty and not reading.found}
    assert {reading.path: reading for reading in found.readings if reading.path in blank} == blank
    assert {reading.path for reading in found.readings} == {reading.path for reading in recorded.readings}
    assert unstructure(inventory_of(whole)) == expected_of(name)["inventory"]
