"""What smartctl says of a drive, judged: healthy drives, failing ones, and those that say nothing."""

import copy
import json

import pytest

from bootmanager.hwtest.result import Outcome
from bootmanager.hwtest.smart import check, read
from tests.unit.menu_desk import NotingRunner


def attribute(number, name, raw, text=None, when_failed=""):
    value = {"value": raw, "string": text or str(raw)}
    return {"id": number, "name": name, "when_failed": when_failed, "raw": value}


# As smartctl 7 tells it (smartctl --json --all), what is not read left out.
ATA = {
    "smartctl": {"exit_status": 0},
    "smart_status": {"passed": True},
    "ata_smart_data": {"self_test": {"polling_minutes": {"short": 1, "extended": 116}}},
    "ata_smart_attributes": {
        "table": [
            attribute(5, "Reallocated_Sector_Ct", 8),
            attribute(9, "Power_On_Hours", 71025, "22641h+14m+12.2s"),
            attribute(194, "Temperature_Celsius", 141734969380, "36 (Min/Max 18/43)"),
            attribute(197, "Current_Pending_Sector", 0),
            attribute(198, "Offline_Uncorrectable", 0),
        ]
    },
    "ata_smart_self_test_log": {
        "standard": {"table": [{"status": {"value": 0, "string": "Completed without error", "passed": True}}]}
    },
}
NVME = {
    "smartctl": {"exit_status": 0},
    "smart_status": {"passed": True, "nvme": {"value": 0}},
    "nvme_smart_health_information_log": {
        "critical_warning": 0,
        "percentage_used": 3,
        "media_errors": 0,
        "power_on_hours": 900,
    },
}
NONE = {
    "smartctl": {
        "exit_status": 1,
        "messages": [{"string": "/dev/vda: Unable to detect device type", "severity": "error"}],
    }
}


def changed(said, *path, to):
    made = copy.deepcopy(said)
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return made


@pytest.mark.parametrize(
    ("said", "told"), [(ATA, "8 reallocated"), (ATA, "22641 hours"), (ATA, "36 degrees"), (NVME, "3 % of")]
)
def test_a_healthy_drive(said, told):
    result = read("/dev/sda", said)
    assert result.outcome is Outcome.PASSED
    assert told in result.detail


TABLE = ("ata_smart_attributes", "table")
LOG = "nvme_smart_health_information_log"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (changed(ATA, "smart_status", "passed", to=False), "is failing"),
        (changed(ATA, *TABLE, 3, "raw", to={"value": 16, "string": "16"}), "16 pending sectors"),
        (changed(ATA, *TABLE, 4, "raw", to={"value": 2, "string": "2"}), "2 uncorrectable"),
        (changed(ATA, *TABLE, 0, "when_failed", to="now"), "Reallocated_Sector_Ct has failed"),
        (
            changed(
                ATA, "ata_smart_self_test_log", "standard", "table", 0, "status",
                to={"passed": False, "string": "Completed: read failure"},
            ),
            "read failure",
        ),
        (changed(NVME, LOG, "critical_warning", to=4), "critical warning 0x4"),
        (changed(NVME, LOG, "media_errors", to=7), "7 media errors"),
        (changed(NVME, LOG, "percentage_used", to=100), "used up"),
    ],
)  # fmt: skip
def test_a_drive_that_loses_data_or_is_about_to(said, why):
    result = read("/dev/sda", said)
    assert result.outcome is Outcome.FAILED
    assert why in result.detail


def test_a_drive_without_smart_is_no_failed_drive():
    result = read("/dev/vda", NONE)
    assert result.outcome is Outcome.NOT_POSSIBLE
    assert "Unable to detect" in result.detail


@pytest.mark.parametrize(("said", "drive_test", "tests"), [(ATA, True, 1), (ATA, False, 0), (NONE, True, 0)])
def test_a_drives_own_test_is_started_only_when_asked_for(said, drive_test, tests):
    run = NotingRunner({"smartctl": (4, json.dumps(said))})
    result = check(run, "/dev/sda", drive_test=drive_test)
    assert sum("--test=long" in words for words in run.ran) == tests
    assert ("116 minutes" in result.detail) == bool(tests)
