"""The journal, durable files, options, events, refusals."""

import json
import os

import pytest

from host.alone import alone, is_taken
from host.events import Events, LineFile
from host.files import write_atomic
from host.http_trust import reason
from host.journal import Journal
from host.options import BadOption, Options, load_options
from host.refusals import ALLOWED, PAUSE_SECONDS, CallsPaused, Refusals


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a/file"
    write_atomic(path, "one")
    write_atomic(path, b"two", mode=0o600)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_who_has_to_wait_for_another_is_told_once_and_may_give_up(tmp_path):
    with alone(tmp_path, lambda: pytest.fail("nobody else is there")):
        assert is_taken(tmp_path)
        with pytest.raises(InterruptedError), alone(tmp_path, gives_up):
            pytest.fail("not alone")
    assert not is_taken(tmp_path)


def gives_up():
    raise InterruptedError


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "one")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk on fire")))
    with pytest.raises(OSError, match="on fire"):
        write_atomic(path, "two")
    assert path.read_text() == "one"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_the_journal_gives_back_what_was_written(tmp_path):
    journal = Journal(tmp_path / "deep/journal")
    journal.append("start", step="x")
    journal.append("done", step="x")
    assert journal.records() == [{"kind": "start", "step": "x"}, {"kind": "done", "step": "x"}]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_line_loses_only_itself(tmp_path, cut):
    journal = Journal(tmp_path / "journal")
    journal.append("first", number=1)
    whole = journal.path.stat().st_size
    journal.append("torn", text="x" * 50)
    os.truncate(journal.path, whole + cut)
    journal.append("after", number=2)
    assert [record["kind"] for record in journal.records()] == ["first", "after"]


def test_garbage_in_the_journal_is_passed_over(tmp_path):
    path = tmp_path / "journal"
    path.write_bytes(b'\xff\xfe\n[]\n"x"\n{}\n{"kind": 1}\n{"kind":"good"}\n')
    assert Journal(path).records() == [{"kind": "good"}]


@pytest.fixture
def places(tmp_path):
    file, kernel = tmp_path / "conf", tmp_path / "cmdline"
    kernel.write_text("quiet\n")
    return file, kernel


def test_the_later_place_wins(places):
    file, kernel = places
    assert load_options(file=file, kernel=kernel) == Options()
    file.write_text("[bootmanager]\nstate = boot\nchain = reboot\n")
    kernel.write_text('root=/dev/x bm.state=inst "bm.events=/dev/ttyS1"\n')
    assert load_options(file=file, kernel=kernel) == Options("inst", "/dev/ttyS1", "reboot")
    assert load_options(file=file, kernel=kernel, command_line={"state": "dbg"}).state == "dbg"


@pytest.mark.parametrize(
    ("file_text", "kernel_text", "says"),
    [
        ("[bootmanager]\nstat = inst\n", "", "no option 'stat'"),
        ("[bootmanager]\nstate = gone\n", "", "state is 'gone'"),
        ("no section\n", "", "no section"),
        ("", "bm.stat=inst", "kernel arguments: there is no option 'stat'"),
        ("", "bm.chain=hope", "kernel arguments: chain is 'hope'"),
        ("", "bm.state='inst", "kernel arguments: No closing quotation"),
    ],
)
def test_a_bad_option_is_named_with_its_place(places, file_text, kernel_text, says):
    file, kernel = places
    file.write_text(file_text)
    kernel.write_text(kernel_text)
    with pytest.raises(BadOption) as caught:
        load_options(file=file, kernel=kernel)
    assert says in caught.value.detail


def test_events_reach_every_sink_in_order(tmp_path):
    told = []
    events = Events("bootmanager", (told.append, LineFile(tmp_path / "events")))
    events.run_id = "r1"
    events.tell("step.done", step="x", seconds=1.5)
    events.tell("peak", memory_bytes=1)
    lines = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2]
    assert lines[0]["event"] == "step.done"
    assert lines[0]["run"] == "r1"
    assert lines[0]["seconds"] == 1.5
    assert lines == [event.to_plain() for event in told]


def test_of_a_bounded_file_the_newer_events_stay(tmp_path):
    events = Events("bootmanager", (LineFile(tmp_path / "events", 2000),))
    for number in range(100):
        events.tell("peak", memory_bytes=number)
        text = (tmp_path / "events").read_text()
        assert len(text) <= 2000
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["memory_bytes"] for line in lines] == list(range(number + 1 - len(lines), number + 1))
    assert len(lines) > 5


def test_a_sink_that_fails_is_dropped_and_the_others_go_on():
    told = []

    def broken(event):
        raise OSError("gone")

    events = Events("x", (broken, told.append))
    events.tell("one")
    events.tell("two")
    assert len(told) == 2


@pytest.fixture
def boot(tmp_path, monkeypatch):
    """A boot of the node: (refusals, set uptime); `restart` makes the next one."""

    class Boot:
        uptime = 10.0
        number = 0

        def __init__(self):
            monkeypatch.setattr("host.refusals._uptime", lambda: self.uptime)
            self.restart()

        def restart(self, uptime=10.0):
            self.number += 1
            self.uptime = uptime
            boot_id = tmp_path / "boot_id"
            boot_id.write_text(f"boot-{self.number}\n")
            self.refusals = Refusals(Journal(tmp_path / "journal"), boot_id=boot_id)

    return Boot()


def test_three_refusals_pause_the_calls(boot):
    for _ in range(ALLOWED):
        boot.refusals.gate()
        boot.refusals.refused()
    with pytest.raises(CallsPaused, match="3 times; next try in 900 s"):
        boot.refusals.gate()
    boot.uptime += PAUSE_SECONDS
    boot.refusals.gate()


def test_refusals_are_counted_across_reboots(boot):
    for _ in range(ALLOWED):
        boot.refusals.refused()
        boot.restart()
    assert boot.refusals.count() == ALLOWED
    assert boot.refusals.seconds_to_wait() == PAUSE_SECONDS - 10.0
    boot.uptime = PAUSE_SECONDS + 1
    assert boot.refusals.seconds_to_wait() == 0


def test_an_accepted_call_or_a_person_clears_them(boot):
    for _ in range(ALLOWED):
        boot.refusals.refused()
    boot.refusals.cleared()
    boot.refusals.gate()
    assert boot.refusals.count() == 0


def test_an_event_cannot_hide_a_field_that_every_event_has():
    with pytest.raises(ValueError, match="boot is a field"):
        Events("x").tell("media.found", boot=["/dev/sda"])


def test_what_came_in_place_of_an_answer_steers_no_terminal():
    said = reason(ConnectionError("\x1b]0;done\x07\x9b2J\n" + "x" * 60_000))
    assert said.startswith("?]0;done??2J?x")
    assert len(said) < 400
