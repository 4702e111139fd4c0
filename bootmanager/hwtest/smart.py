"""What a drive says of itself: SMART, by smartctl(8) --json."""

from __future__ import annotations

import json
import re
from typing import Any

from bootmanager.hwtest.result import Result, judged, not_possible
from host.run import Runner
from host.texts import Text, _, joined

TEST = "smart"
_LIMIT = _("healthy, no sector given up")
# Its exit status is a set of bits about the drive, and never the reason to read nothing.
_ANY_STATUS = range(256)
# Attributes of ATA drives that count sectors which could not be read: they lose data.
_LOST = {197: _("pending sectors"), 198: _("uncorrectable sectors")}
_TOLD = {5: _("reallocated sectors"), 9: _("hours"), 194: _("degrees C")}


def check(run: Runner, path: str, *, drive_test: bool) -> Result:
    """Read what a drive keeps; with `drive_test` its own long test is started, which goes on by itself.

    Raises CommandTimedOut, CommandMissing.
    """
    said = json.loads(run(["smartctl", "--json", "--all", path], ok=_ANY_STATUS).stdout or "{}")
    result = read(path, said)
    if not drive_test or not _has_smart(said):
        return result
    begun = json.loads(run(["smartctl", "--json", "--test=long", path], ok=_ANY_STATUS).stdout or "{}")
    minutes = said.get("ata_smart_data", {}).get("self_test", {}).get("polling_minutes", {}).get("extended")
    how = _("takes {minutes} minutes", minutes=minutes) if minutes else _("takes hours")
    messages = [each["string"] for each in begun["smartctl"].get("messages", [])]
    note = "; ".join(messages) or _("its own test was started, {how}; look again then", how=how)
    detail = joined("; ", [result.detail, note])
    return Result(TEST, path, result.outcome, detail, result.limit, result.figures)


def read(path: str, said: dict[str, Any]) -> Result:
    """Judge what smartctl said."""
    if not _has_smart(said):
        messages = [each["string"] for each in said.get("smartctl", {}).get("messages", [])]
        return not_possible(TEST, path, "; ".join(messages) or _("the drive has no SMART"))
    faults: list[str] = []
    if not said.get("smart_status", {}).get("passed", True):
        faults.append(_("the drive says that it is failing"))
    told: dict[str, float] = {}
    for attribute in said.get("ata_smart_attributes", {}).get("table", []):
        number = _first_number(attribute["raw"])
        if attribute["id"] in _LOST and number:
            faults.append(Text("{n:.0f} {what}", n=number, what=_LOST[attribute["id"]]))
        if attribute.get("when_failed") == "now":
            faults.append(_("{attribute} has failed", attribute=attribute["name"]))
        if attribute["id"] in _TOLD:
            told[_TOLD[attribute["id"]]] = number
    faults += _nvme(said.get("nvme_smart_health_information_log", {}), told)
    faults += _self_test(said)
    detail = joined(", ", [Text("{n:.0f} {what}", n=number, what=name) for name, number in told.items()])
    return judged(TEST, path, joined(", ", faults), detail, _LIMIT, told)


def _first_number(raw: dict[str, Any]) -> float:
    """Return the first number of an attribute: of some the drive packs several into the raw value."""
    found = re.match(r"\d+", str(raw.get("string", raw.get("value", ""))))
    return float(found[0]) if found else 0.0


def _has_smart(said: dict[str, Any]) -> bool:
    return bool(said.get("smart_status") or said.get("nvme_smart_health_information_log"))


def _nvme(log: dict[str, Any], told: dict[str, float]) -> list[str]:
    if not log:
        return []
    told |= {_("hours"): log.get("power_on_hours", 0), _("% of its life used"): log.get("percentage_used", 0)}
    faults: list[str] = []
    if log.get("critical_warning"):
        faults.append(_("critical warning {bits:#x}", bits=log["critical_warning"]))
    if log.get("media_errors"):
        faults.append(_("{n} media errors", n=log["media_errors"]))
    if log.get("percentage_used", 0) >= 100:
        faults.append(_("its life is used up"))
    return faults


def _self_test(said: dict[str, Any]) -> list[str]:
    """Return what the last of the drive's own tests found, as far as it found something."""
    table = said.get("ata_smart_self_test_log", {}).get("standard", {}).get("table", [])
    last = table[0]["status"] if table else {}
    if last.get("passed", True):
        return []
    return [_("its own test: {outcome}", outcome=last.get("string", "failed"))]
