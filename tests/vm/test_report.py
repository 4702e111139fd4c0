"""A machine that fails tells why by itself, and is looked into on another one."""

import json
import subprocess
import sys
from pathlib import Path

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits, media
from tests.vm.harness.artifacts import ROOT
from tests.vm.harness.site import NODE


def replayed(*words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "bootmanager", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_failure_reports_itself_and_is_replayed_elsewhere(new_site: MakeSite, tmp_path: Path) -> None:
    site = new_site()
    machine, server = site.machine, site.server
    # With a dongle, what is mounted now would differ from when the failure came.
    site.without("data", "dongle")
    media.blank(site.system, 512)

    site.power_on()
    failed = machine.wait_error("disk-too-small", timeout=limits.BOOT)
    sent = machine.wait_event("report.sent", timeout=limits.SOON, after=failed)

    (row,) = json.loads(server.cli("node", "reports", NODE, "--format", "json"))
    assert (row["id"], row["code"]) == (sent["id"], "disk-too-small")
    report = str(tmp_path / "report.tgz")
    server.cli("node", "report", NODE, "--to", report)

    here = replayed("inventory", "--from", report)
    assert here.stdout == site.shell.output("bootmanager inventory", timeout=limits.SOON)
    assert "SYSTEM01" in here.stdout
    plan = replayed("plan", "inst", "--from", report)
    assert (plan.returncode, str(failed["detail"]) in plan.stdout) == (1, True), plan

    # A person asks for another one, once sent and once kept in the machine's memory.
    assert "sent: report" in site.shell.output("bootmanager report", timeout=limits.SOON)
    assert "in memory" in site.shell.output("bootmanager report --to /root/r.tgz", timeout=limits.SOON)
    assert len(json.loads(server.cli("node", "reports", NODE, "--format", "json"))) == 2
    assert [machine.written(name) for name in ("system", "key")] == [0, 0]
