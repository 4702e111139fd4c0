"""The menu of debug mode: what is shown, what is asked before something is changed, what it leads to."""

import dataclasses
import json
from contextlib import ExitStack

import pytest

from bootmanager import menu_changes, menu_shows, standing
from bootmanager.asking import SECONDS, WAITING
from bootmanager.menu import PROMPT, Menu
from bootmanager.menu_desk import STOPPED
from bootmanager.standing import Standing, load, screen
from bootmanager.wish import leave_wish, take_wish
from host.terminal import TerminalEnded
from host.this_boot import for_this_boot
from tests.unit.fake_terminal import FakeTerminal
from tests.unit.menu_desk import FAILED, Busy, NotingRunner, desk, end, ended
from wire.errors import ConfigurationError
from wire.nodenet import IpMethod, NetworkSettings


def menu(folder, *answers, **how):
    """Have a conversation to its end; return the terminal, the desk and what was told."""
    where, told = desk(folder, **how)
    person = FakeTerminal(*answers)
    with pytest.raises(TerminalEnded):
        Menu(where).run(person)
    return person, where, told


LONGEST = Standing(
    1, "inst", "1 " + "n" * 300, ("a" * 200,) * 9, "s" * 99, "c", *["word " * 200] * 3, *["k" * 300] * 2
)


@pytest.mark.parametrize(
    "shown", [FAILED, LONGEST, Standing(1, "dbg"), dataclasses.replace(FAILED, title="\u00fc" * 90)]
)
def test_screen_and_menu_fit_a_terminal_of_80_by_24(tmp_path, shown):
    where, _ = desk(tmp_path)
    rows = f"{screen(shown)}\n{Menu(where).text()}\n{PROMPT}".splitlines()
    assert len(rows) < 24
    assert max(map(len, rows)) < 80


def test_the_screen_says_what_why_where_and_what_to_do():
    text = " ".join(screen(FAILED).split())
    for said in (
        "inst",
        FAILED.node,
        "10.0.2.15/24",
        FAILED.step,
        FAILED.code,
        FAILED.title,
        FAILED.hint,
        "SHA256:",
    ):
        assert said in text
    assert "nothing failed" in screen(Standing(1, "dbg"))


def test_enter_shows_the_screen_as_it_is_now(tmp_path):
    where, _ = desk(tmp_path)
    person = FakeTerminal("", "99", "rm -rf /")
    dataclasses.replace(FAILED, node="8 other").save(tmp_path)
    with pytest.raises(TerminalEnded):
        Menu(where).run(person)
    assert person.text.count("DEBUG MODE") == 2
    assert "8 other" in person.text
    assert "There is no '99'" in person.text


def test_an_entry_that_fails_says_so_and_the_menu_goes_on(tmp_path, monkeypatch):
    def failing(run):
        raise ConfigurationErrorForTests("it is so")

    class ConfigurationErrorForTests(ConfigurationError):
        code, title, hint = "menu-test", "It failed", "Do this."

    monkeypatch.setattr(menu_shows, "detect", failing)
    person, _, _ = menu(tmp_path, "1", "1")
    assert person.text.count("It failed: it is so [menu-test]\nDo this.") == 2


def test_try_again_leaves_a_wish_and_wakes_the_program(tmp_path):
    _, where, _ = menu(tmp_path, "6")
    assert where.host.run.ran[-1][:2] == ["systemctl", "kill"]
    assert take_wish(tmp_path) == "auto"


@pytest.mark.parametrize(
    ("answers", "wish"),
    [
        (["rins", "yes"], "rins"),
        (["rins", "y"], None),
        (["rins", ""], None),
        (["inst", "YES"], "inst"),
        (["new", "no"], None),
        (["boot"], "boot"),
        (["dbg"], "dbg"),
        (["chained"], None),
        ([""], None),
    ],
)
def test_a_state_that_destroys_is_asked_about_first(tmp_path, answers, wish):
    person, where, told = menu(tmp_path, "7", *answers)
    assert person.answers == []
    assert bool(where.host.run.ran) == (wish is not None)
    assert take_wish(tmp_path) == (wish or "auto")
    assert told == ([("menu.state", {"state": wish})] if wish else [])


def test_a_wish_is_taken_once_and_nonsense_is_none(tmp_path):
    leave_wish(NotingRunner(), tmp_path, "rins")
    assert [take_wish(tmp_path), take_wish(tmp_path)] == ["rins", "auto"]
    (tmp_path / "wish").write_text("chained; reboot")
    assert take_wish(tmp_path) == "auto"


# No bond, the interface, no VLAN, IPv4, no IPv6 of its own, two name servers.
STATIC = ["", "enp2s0", "", "static", "10.1.1.7", "255.255.255.0", "10.1.1.1", "", "10.1.1.2", ""]


def test_network_settings_of_this_boot(tmp_path):
    person, _, told = menu(tmp_path, "5", *STATIC, "yes")
    wanted = NetworkSettings(
        IpMethod.STATIC, "enp2s0", "10.1.1.7", "255.255.255.0", "10.1.1.1", ("10.1.1.2",)
    )
    assert for_this_boot(tmp_path) == wanted
    assert told[0][0] == "menu.network"
    assert "NET_DEVICE [enp1s0]:" in person.text
    # Asked again, what counts now stands in the brackets, and can be kept or taken away.
    person, _, _ = menu(tmp_path, "5", "", "-", "", "", "", "", "", "", "", "yes")
    assert "IP_ADDRESS [10.1.1.7]:" in person.text
    assert for_this_boot(tmp_path) == dataclasses.replace(wanted, device="")


def test_dhcp_asks_for_no_addresses(tmp_path):
    person, _, _ = menu(tmp_path, "5", "", "", "", "dhcp", "", "yes")
    assert for_this_boot(tmp_path) == NetworkSettings(device="enp1s0")
    assert "IP_ADDRESS" not in person.text


@pytest.mark.parametrize(
    "answers",
    [
        [*STATIC, "no"],
        ["", "enp2s0", "", "static", "10.1.1.700", "255.255.255.0", "10.1.1.1", "", "", ""],
        ["", "enp2s0", "", "static", "10.1.1.7", "", "", "", "", ""],
        ["", 'eth0" X="y', "", "dhcp", ""],
        ["", "", "", "bootp", ""],
    ],
)
def test_settings_that_are_wrong_or_declined_change_nothing(tmp_path, answers):
    person, _, told = menu(tmp_path, "5", *answers)
    assert for_this_boot(tmp_path) is None
    assert told == []
    assert STOPPED in person.text or "[malformed-node-configuration]" in person.text


def test_logs(tmp_path):
    event = {
        "seq": 1,
        "time": 1.0,
        "uptime": 2.5,
        "program": "b",
        "run": "",
        "boot": "",
        "event": "step.done",
        "step": "x",
    }
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    (tmp_path / "bootmanager.log").write_text("\n".join(f"line {number}" for number in range(1000)))
    person, _, _ = menu(
        tmp_path, "3", "events", "3", "kernel", "3", "commands", "q", said={"dmesg": (0, "sda: dead\n")}
    )
    assert "     2.5 step.done step=x" in person.text
    assert "sda: dead" in person.text
    assert "line 600\n" in person.text
    assert "line 599\n" not in person.text


def test_a_menu_knows_when_its_stay_is_over(tmp_path):
    desk(tmp_path)
    assert ended(tmp_path) == ""
    end(tmp_path)
    assert "operator asked for boot" in ended(tmp_path)
    dataclasses.replace(FAILED, stay=2).save(tmp_path)
    assert ended(tmp_path) == standing.NOT_HERE
    assert load(tmp_path).stay == 2


def test_the_dongle_is_not_erased_without_a_yes(tmp_path, monkeypatch):
    erased = []

    class Found:
        disk, size_bytes, device = "/dev/sdb", 2**30, "/dev/sdb1"

    monkeypatch.setattr(menu_changes, "proven_dongle", lambda run, folder: Found)
    monkeypatch.setattr(
        menu_changes, "erase_dongle", lambda run, dongle, folder: erased.append(dongle) or dongle
    )
    person, _, told = menu(tmp_path, "8", "y", "8", "yes")
    assert "Erase the cache dongle on /dev/sdb, 1024 MiB?" in person.text
    assert erased == [Found]
    assert told == [("dongle.erased", {"device": "/dev/sdb1"})]


@pytest.mark.parametrize(("answer", "stick"), [("server", [False]), ("stick", [True]), ("", [])])
def test_a_report_goes_where_a_person_wants_it(tmp_path, monkeypatch, answer, stick):
    made = []

    def report_now(host, place, *, stick):
        made.append(stick)
        return "sent: report 7"

    monkeypatch.setattr(menu_shows, "report_now", report_now)
    person, _, _ = menu(tmp_path, "10", answer)
    assert made == stick
    assert ("sent: report 7" in person.text) == bool(stick)


class Found:
    disk, size_bytes, device = "/dev/sdb", 2**30, "/dev/sdb1"


class Listening(FakeTerminal):
    """A person; who is at work hears what they are told."""

    def __init__(self, workers, *answers):
        super().__init__(*answers)
        self._workers = workers

    def say(self, text):
        super().say(text)
        for worker in self._workers:
            worker.hears(text)


def told_to_wait(where, workers, *answers):
    """Return how often a person is told that they wait."""
    person = Listening(workers, *answers)
    with pytest.raises(TerminalEnded):
        Menu(where).run(person)
    return person.said.count(WAITING)


@pytest.mark.parametrize(
    "answers", [["2", "inst"], ["10", "stick"], ["8", ""], ["6"], ["7", "boot"]], ids=str
)
def test_who_has_to_wait_for_the_nodes_own_check_in_is_told_so(tmp_path, monkeypatch, answers):
    monkeypatch.setattr(menu_shows, "previews_of", lambda host, state: ())
    monkeypatch.setattr(menu_shows, "report_now", lambda host, place, stick: "it is there")
    monkeypatch.setattr(menu_changes, "proven_dongle", lambda run, folder: Found)
    where, _ = desk(tmp_path)
    with Busy(tmp_path) as worker:
        assert told_to_wait(where, [worker], *answers) == 1
    assert told_to_wait(where, [], *answers) == 0
    assert f"at most {SECONDS:.0f} s" in WAITING


def test_who_erases_a_dongle_is_told_so_too(tmp_path, monkeypatch):
    workers = []
    monkeypatch.setattr(menu_changes, "proven_dongle", lambda run, folder: Found)
    monkeypatch.setattr(menu_changes, "erase_dongle", lambda run, dongle, folder: dongle)
    where, _ = desk(tmp_path)
    with ExitStack() as stack:
        begins = lambda terminal, what: workers.append(stack.enter_context(Busy(tmp_path))) or True  # noqa: E731
        monkeypatch.setattr(menu_changes, "agreed", begins)
        assert told_to_wait(where, workers, "8") == 1
