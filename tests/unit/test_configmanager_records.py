"""Records: which word counts, what is on the disk, and what time it is."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from configmanager import records as module
from configmanager.clock import FAR_SECONDS, Clock
from configmanager.records import DiskTrouble, Records, StaleConfiguration, WrongNode, unexpired
from wire.messages import ImageRef
from wire.slivers import NodeService, NodeSlivers, Sliver
from wire.structure import MalformedMessage, unstructure

ONE, TWO = Sliver("demo_one", 1, 5000), Sliver("demo_two", 2, 6000)
REPLY = NodeSlivers(1000, 1, "node1", (ONE,), (NodeService("clock", "[Service]\n"),), generation=7)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "records.sqlite"


def told(*slivers: Sliver, timestamp: int = 1000) -> object:
    return unstructure(replace(REPLY, timestamp=timestamp, slivers=slivers))


def test_what_was_stored_is_there_after_a_restart_and_nobody_elses_to_read(file: Path) -> None:
    assert Records(file).load() is None
    assert not file.exists()
    assert Records(file).store(told(ONE, TWO)) == Records(file).load() == replace(REPLY, slivers=(ONE, TWO))
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_newer_reply_counts_and_another_nodes_never_does(file: Path) -> None:
    records = Records(file)
    records.store(told(ONE))
    with pytest.raises(StaleConfiguration):
        records.store(unstructure(replace(REPLY, timestamp=999, generation=6)))
    with pytest.raises(WrongNode):
        records.store(unstructure(replace(REPLY, node_id=2)))
    assert records.load() == Records(file).load() == REPLY
    assert records.store(told(timestamp=1001)).slivers == ()
    assert Records(file).load() == replace(REPLY, timestamp=1001, slivers=())


def test_a_word_on_one_sliver_counts_until_a_newer_comprehensive_one(file: Path) -> None:
    records = Records(file)
    renewed = replace(ONE, expires=9000)
    assert not records.deliver(unstructure(renewed), 2000)  # To whom, if the node is not known yet?
    records.store(told(ONE))
    assert not records.deliver(unstructure(renewed), 1000)
    assert records.deliver(unstructure(renewed), 2000)
    assert records.deliver(unstructure(TWO), 2000)
    assert not records.deliver(unstructure(replace(TWO, expires=1)), 1999)
    records.store(told(ONE, timestamp=1500))
    for known in (records, Records(file)):
        whole = known.load()
        assert whole is not None
        assert (whole.timestamp, whole.slivers) == (1500, (renewed, TWO))
    records = Records(file)
    records.store(told(ONE, timestamp=2000))
    whole = Records(file).load()
    assert whole is not None
    assert whole.slivers == (ONE,)


def test_the_image_of_such_a_word_is_known_as_long_as_it_counts(file: Path) -> None:
    records, image = Records(file), ImageRef("sliver", "ab" * 32)
    records.store(told(ONE))
    records.deliver(unstructure(replace(TWO, image="sliver")), 2000, (image,))
    records.store(told(ONE, timestamp=1500))
    for known in (records, Records(file)):
        whole = known.load()
        assert whole is not None
        assert whole.images == (image,)
    newer = ImageRef("sliver", "cd" * 32)
    records.deliver(unstructure(replace(TWO, image="sliver")), 2001, (newer,))
    assert (whole := records.load()) is not None
    assert whole.images == (newer,)
    records.store(told(ONE, timestamp=3000))
    assert (whole := Records(file).load()) is not None
    assert whole.images == ()


def test_only_what_changed_is_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Sliver(f"site_s{number}", number, 5000) for number in range(50)]
    records = Records(file)
    records.store(told(*many))
    whole, written = records.load(), []
    monkeypatch.setattr(
        module.json, "dumps", lambda value, dumps=json.dumps: written.append(value) or dumps(value)
    )
    many[3] = replace(many[3], expires=5001)
    after = records.store(told(*many[:40], timestamp=1001))
    assert [each["name"] for each in written if isinstance(each, dict) and "slice_id" in each] == ["site_s3"]
    assert whole is not None
    # The others are the very same, so that whatever is known of them need not be worked out again.
    before = {id(item) for item in whole.slivers}
    assert [item.name for item in after.slivers if id(item) not in before] == ["site_s3"]


@pytest.mark.parametrize("content", [b"", b"{", b"SQLite format 3\0" + bytes(200), b"x" * 9000])
def test_a_damaged_record_is_no_record(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    records = Records(file)
    assert records.load() is None
    records.store(told(ONE))
    assert Records(file).load() == REPLY


def test_a_record_of_other_code_is_no_record(file: Path) -> None:
    Records(file).store(told(ONE))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE slivers SET body = '{}'")
    database.close()
    assert Records(file).load() is None


def test_rows_that_are_missing_are_damage(file: Path) -> None:
    Records(file).store(told(ONE, TWO))
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM slivers WHERE name = 'demo_two'")
    database.close()
    assert Records(file).load() is None, "demo_two would be destroyed"


def test_a_file_that_was_taken_away_is_written_whole(file: Path) -> None:
    records = Records(file)
    records.store(told(ONE, TWO))
    file.unlink()
    changed = replace(TWO, expires=7000)
    whole = records.store(told(ONE, changed, timestamp=1001))
    assert Records(file).load() == whole == replace(REPLY, timestamp=1001, slivers=(ONE, changed))


def test_reading_takes_nothing_away(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"x" * 9000)
    Records(file)
    assert file.read_bytes() == b"x" * 9000


def test_a_full_disk_leaves_the_old_word(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(file)
    records.store(told(ONE))
    connect = sqlite3.connect

    def small(*words: object, **options: object) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(*words, **options)  # type: ignore[call-overload]
        database.execute("PRAGMA max_page_count=5")
        return database

    monkeypatch.setattr(module.sqlite3, "connect", small)
    with pytest.raises(DiskTrouble, match="full"):
        records.store(told(ONE, replace(TWO, initscript="x" * 100_000), timestamp=1001))
    assert records.load() == Records(file).load() == REPLY


# --- one sliver's fault ---

PORTS = [{"tagname": "ports", "value": "tcp:8080:80"}]


def plain(*items: dict[str, object]) -> dict[str, object]:
    return {"timestamp": 1001, "node_id": 1, "hostname": "node1", "slivers": list(items)}


def item(name: str = "demo_two", **more: object) -> dict[str, object]:
    return {"name": name, "slice_id": 2, "expires": 6000, **more}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "fault",
    [
        {"attributes": [{"tagname": "ports", "value": "tcp:eighty:80"}]},
        {"attributes": [{"tagname": "ports", "value": "tcp:22:22"}]},
        {"attributes": [{"tagname": "a b", "value": "1"}]},
        {"attributes": [{"tagname": "ports", "value": 80}]},
        {"attributes": "ports"},
        {"slice_id": "two"},
        {"image": "../../etc"},
        {"image": "im\u0430ge"},
        {"instantiation": "by-hand"},
        {"initscript": "\0"},
        {"initscript": "\x1b[2J"},
        {"initscript": "\ud800"},
        {"keys": [{"key_type": "ssh", "key": "one\ntwo"}]},
        {"expires": "never"},
        {"expires": 10**400},
        {"expires": -1},
        {"attributes": [{"tagname": "ports", "value": "tcp:8080:80 tcp:8080:81"}]},
        {"more": nested(500)},
    ],
)
def test_one_slivers_fault_is_its_own(file: Path, fault: dict[str, object]) -> None:
    records = Records(file)
    records.store(plain(item("demo_one"), item(image="sliver")))
    good = records.load()
    assert good is not None
    whole = records.store(plain(item("demo_one", expires=7000), item(**fault), item("demo_new", **fault)))
    assert [(each.name, each.expires) for each in whole.slivers] == [("demo_one", 7000), ("demo_two", 6000)]
    assert whole.slivers[1] == good.slivers[1]
    assert list(records.refused) == ["sliver demo_two", "sliver demo_new"]
    assert Records(file).refused == records.refused
    records.store(plain(item("demo_one"), item(image="sliver")))
    assert records.refused == {}


def test_a_fault_is_told_in_words(file: Path) -> None:
    records = Records(file)
    records.store(
        plain(
            item("one", attributes=[{"tagname": "ports", "value": "tcp:x:80"}]),
            item("two", attributes=[{"tagname": "a", "value": 80}]),
        )
    )
    assert records.refused == {
        "sliver one": "port 'tcp:x:80' is not of the form tcp:8080:80",
        "sliver two": "invalid value for type, expected str in attributes[0].value",
    }


def test_a_sliver_with_a_fault_expires_all_the_same(file: Path) -> None:
    records = Records(file)
    records.store(plain(item(image="sliver")))
    whole = records.store(plain(item(image="..", expires=1500)))
    assert [(each.image, each.expires) for each in whole.slivers] == [("sliver", 1500)]
    assert records.store(plain()).slivers == ()


def test_a_port_stays_with_the_sliver_that_has_it(file: Path) -> None:
    records = Records(file)
    records.store(plain(item("zz", attributes=PORTS), item("aa")))
    whole = records.store(plain(item("aa", attributes=PORTS), item("zz", attributes=PORTS)))
    assert [(each.name, len(each.ports)) for each in whole.slivers] == [("aa", 0), ("zz", 1)]
    assert records.refused == {"sliver aa": "tcp:8080 is zz's, aa cannot have it too"}


def test_a_port_that_moved_is_not_taken_back_by_a_fault(file: Path) -> None:
    records = Records(file)
    records.store(plain(item("aa", attributes=PORTS), item("bb")))
    whole = records.store(plain(item("aa", image=".."), item("bb", attributes=PORTS)))
    assert [(each.name, len(each.ports)) for each in whole.slivers] == [("aa", 0), ("bb", 1)]


def test_a_services_fault_is_its_own(file: Path) -> None:
    records = Records(file)
    records.store(told(ONE))
    services = [{"name": "clock", "unit": "nothing"}, {"name": "other", "unit": "[Service]\n"}]
    whole = records.store({**plain(), "services": services})
    assert sorted((each.name, each.unit) for each in whole.services) == [
        ("clock", "[Service]\n"),
        ("other", "[Service]\n"),
    ]
    assert list(records.refused) == ["service clock"]


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        {"timestamp": 1001},
        {**plain(), "slivers": {}},
        {name: value for name, value in plain().items() if name != "slivers"},
        {**plain(), "slivers": "demo_two"},
        {**plain(), "services": 1},
        {**plain(), "images": {"name": "sliver", "manifest": "x"}},
        {**plain(), "timestamp": "1001"},
        {**plain(), "timestamp": 10**400},
        {**plain(), "timestamp": 1_795_223_632_000},
        {**plain(), "timestamp": -1},
        {**plain(), "more": nested(500)},
    ],
)
def test_a_reply_that_is_none_changes_nothing(file: Path, damage: object) -> None:
    records = Records(file)
    records.store(told(ONE))
    with pytest.raises(MalformedMessage):
        records.store(damage)
    assert records.load() == Records(file).load() == REPLY


# --- time ---


def test_expiry_does_not_trust_a_clock_that_lags() -> None:
    record = replace(REPLY, slivers=(replace(ONE, expires=900), replace(TWO, expires=1100)))
    assert [item.name for item in unexpired(record, 0.0).slivers] == ["demo_two"]
    assert unexpired(record, 1200.0).slivers == ()


class Times:
    """A system's clocks."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.uptime = 1_000_000.0, 50.0
        self.file = folder / "clock.json"
        monkeypatch.setattr(time, "time", lambda: self.wall)

    def clock(self, floor: float = 1_000_000.0) -> Clock:
        return Clock(floor, self.file, lambda: self.uptime)


@pytest.fixture
def times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Times:
    return Times(tmp_path, monkeypatch)


def test_the_servers_time_goes_on_whatever_the_clock_does(times: Times) -> None:
    clock = times.clock()
    clock.learn(2_000_000.0)
    for wall in (0.0, 9e9):
        times.wall = wall
        times.uptime += 100
        # Also for a manager that was started anew in the same boot.
        assert clock.now() == times.clock().now()
    assert clock.now() == 2_000_200.0


@pytest.mark.parametrize(
    ("wall", "known"),
    [
        (1_000_500.0, 1_000_500.0),
        (0.0, 1_000_000.0),
        (1_000_000.0 + FAR_SECONDS + 1, 1_000_000.0),
    ],
)
def test_without_the_server_the_clock_is_believed_within_reason(
    times: Times, wall: float, known: float
) -> None:
    times.wall = wall
    clock = times.clock()
    times.wall, times.uptime = 9e9, 150.0
    assert clock.now() == known + 100


def test_a_node_that_knows_no_time_takes_the_clocks(times: Times) -> None:
    assert times.clock(0.0).now() == times.wall


def test_the_time_is_kept_over_reboots(file: Path) -> None:
    records = Records(file)
    records.store(told(ONE))
    records.keep_time(123456.5)
    assert Records(file).newest_time == 123456.5
