"""Figures of slivers: from the kernel's files to Prometheus' text."""

from __future__ import annotations

from pathlib import Path

import pytest

from configmanager.api import sensors as module
from configmanager.api.sensors import Sensors
from configmanager.backends.quota import Room, read_use
from host.run import CommandFailed, Runner

GROUP = Path("sys/fs/cgroup/slivers.slice/slivers-demo\\x2done.slice")
FILES = {
    "var/lib/configmanager/slots.json": (
        '{"demo_one": {"number": 3, "held_by": []}, "stopped": {"number": 4, "held_by": []}}'
    ),
    GROUP / "cpu.stat": "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n",
    GROUP / "memory.current": "1048576\n",
    GROUP / "memory.events": "low 0\nhigh 5\nmax 0\noom 1\noom_kill 2\noom_group_kill 0\n",
    GROUP / "pids.current": "12\n",
    GROUP / "io.stat": "254:0 rbytes=100 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=1 wbytes=2\n",
    "sys/class/net/sliver3/statistics/rx_bytes": "700\n",
    "sys/class/net/sliver3/statistics/tx_bytes": "800\n",
}
REPORT = (
    "Project,BlockStatus,FileStatus,BlockUsed,BlockSoftLimit,BlockHardLimit,BlockGrace,"
    "FileUsed,FileSoftLimit,FileHardLimit,FileGrace\n"
    "#0,ok,ok,100,0,0,,5,0,0,\n#3,ok,ok,2048,0,5000000,,77,0,312500,\n"
)


class FakeQuotas:
    """Stands where the file system's quotas stand."""

    kept = True
    fail = False

    def __init__(self, *_: object) -> None:
        pass

    def use(self) -> dict[int, Room]:
        if self.fail:
            raise CommandFailed(["repquota"], 1, "")
        return read_use(REPORT)


@pytest.fixture
def root(tmp_path, monkeypatch):
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(module, "Quotas", FakeQuotas)
    return tmp_path


def figures(root: Path) -> dict[str, float]:
    lines = Sensors(Runner(), root).text().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def test_all_figures_of_a_sliver(root):
    assert {name.replace('{sliver="demo_one"}', ""): value for name, value in figures(root).items()} == {
        "sliver_cpu_seconds_total": 1.5,
        "sliver_memory_bytes": 1048576.0,
        "sliver_memory_kills_total": 2.0,
        "sliver_processes": 12.0,
        "sliver_disk_read_bytes_total": 101.0,
        "sliver_disk_written_bytes_total": 22.0,
        "sliver_disk_used_bytes": 2048.0 * 1024,
        "sliver_disk_files": 77.0,
        "sliver_network_sent_bytes_total": 700.0,
        "sliver_network_received_bytes_total": 800.0,
    }


def test_the_page_lists_them(root):
    page = (Path(__file__).parents[2] / "docs/node-api.md").read_text()
    assert [name for name in figures(root) if f"`{name.partition('{')[0]}`" not in page] == []


def test_what_cannot_be_had_is_left_out(root, monkeypatch):
    monkeypatch.setattr(FakeQuotas, "fail", True)
    (root / GROUP / "memory.current").unlink()
    names = {name.partition("{")[0] for name in figures(root)}
    assert "sliver_cpu_seconds_total" in names
    assert not names & {"sliver_disk_used_bytes", "sliver_memory_bytes"}


def test_without_slivers_there_are_no_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Quotas", FakeQuotas)
    assert figures(tmp_path) == {}
