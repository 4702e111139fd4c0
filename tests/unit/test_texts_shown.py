"""With every text translated, nothing that a person at a machine reads is as it was but names and data."""

import json
import os
from contextlib import suppress
from dataclasses import replace

import pytest

from bootmanager import menu_changes, menu_shows
from bootmanager.engine import Engine, Preview
from bootmanager.hwtest import clock, network, report, smart
from bootmanager.menu import Menu
from bootmanager.menu_changes import _WHAT
from bootmanager.preview import plan_data, plan_text
from bootmanager.standing import Standing, load, screen
from bootmanager.view import ConsoleView
from host.events import Events, LineFile
from host.network import wanted
from host.options import Options
from host.ports import Host
from host.storage import Layout, LayoutDisk
from host.terminal import Line, Lines, TerminalEnded
from host.texts import _, error_text, shown
from hwdetect.content import DiskState
from hwdetect.inventory import Disk, Nic
from steps.base import Facts
from steps.check_hardware import CheckHardware, InsufficientMemory
from steps.confirm import ConfirmUsed
from steps.partition import Partition, _changes
from tests.unit.fake_terminal import FakeTerminal
from tests.unit.menu_desk import FAILED, desk
from tests.unit.pseudo_texts import plain_words, pseudo
from tests.unit.technician_screens import Kept
from wire.nodenet import IpMethod, NetworkSettings
from wire.password import hash_password

NAMES = (
    "enp1s0",
    "enp2s0",
    "node7.example.org",
    "ssh root@",
    FAILED.host_key,
    FAILED.detail,
    "/dev/sda",
    "eth0",
)
WORDS = ("inst", "up", "down", "MiB", "GiB", "TiB")
LINKS = '[{"ifname": "enp1s0", "address": "5", "operstate": "UP", "link_type": "ether", "addr_info": []}]'
DISK = Disk("/dev/sda", "DATA", "DATA", "", 2**40, "ata", False, False, True, 512, DiskState.FOREIGN)
PLANNED = LayoutDisk("/dev/sda", "DATA", 2**40, "claim")
LAYOUT = Layout("run", PLANNED, (), 512, 256, 3072)
ERROR = InsufficientMemory("512/1024")
CODE = "[insufficient-memory]"


@pytest.fixture(autouse=True)
def translated(texts_of):
    texts_of()


def left(text, *data):
    return plain_words(text, *NAMES, *WORDS, *data)


def talk(folder, choose, *answers, **how):
    """Return all that a person saw but what they typed."""
    where, _told = desk(folder, **how)
    person = FakeTerminal(*answers)
    with suppress(TerminalEnded):
        choose(where, person)
    return "\n".join(said for said in person.said if said not in answers)


def menu(folder, *answers, **how):
    return talk(folder, lambda where, person: Menu(where).run(person), *answers, **how)


@pytest.mark.parametrize("standing", [FAILED, Standing(1, "dbg", ssh="(no ssh)")])
def test_the_screen_of_debug_mode(standing):
    seen = screen(standing)
    assert left(seen, "[disk-holds-data]", "choose_disks", "dbg") == []
    if standing.code:
        assert pseudo(FAILED.title) in seen


def test_the_menu_and_what_is_no_entry_of_it(tmp_path):
    seen = menu(tmp_path, "99")
    assert left(seen, "[disk-holds-data]", "choose_disks") == []
    (tmp_path / "debug.json").unlink()
    assert left(menu(tmp_path), "[disk-holds-data]", "choose_disks") == []


def test_an_error_in_the_menu(tmp_path, monkeypatch):
    def failing(run):
        raise ERROR

    monkeypatch.setattr(menu_shows, "detect", failing)
    seen = menu(tmp_path, "1").rpartition("99")[2]
    assert left(seen, CODE, "[disk-holds-data]", "choose_disks") == []
    assert f"{pseudo(ERROR.title)}: 512/1024 {CODE}\n{pseudo(ERROR.hint)}" in seen


CHOICES = {
    "state": (*_WHAT, ", "),
    "log": ("events", "commands", "kernel"),
    "plan": ("new", "rins", "boot", "image"),
    "hardware": ("all", "memory", "disk", "network", "clock", "quick", "long"),
    "report": ("server", "stick"),
}


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("state", ["rins", "no"]),
        ("state", ["else"]),
        ("log", [""]),
        ("plan", [""]),
        ("hardware", ["all", ""]),
        ("report", [""]),
    ],
)
def test_questions(tmp_path, name, answers):
    choose = getattr(menu_changes, name, None) or getattr(menu_shows, name)
    assert left(talk(tmp_path, choose, *answers), *CHOICES[name], "else", "yes") == []


def test_network_settings_for_this_boot(tmp_path):
    answers = ("", "", "", "dhcp", "", "yes")
    seen = talk(tmp_path, menu_changes.network, *answers, said={"ip": (0, LINKS)})
    keys = ("BOND_DEVICES", "NET_DEVICE", "VLAN_ID", "IP_METHOD", "IPV6_ADDRESS", "dhcp", "yes")
    assert left(seen, *keys) == []


def test_the_dongle_is_erased(tmp_path, monkeypatch):
    class Found:
        disk, size_bytes, device = "/dev/sda", 2**30, "/dev/sda1"

    monkeypatch.setattr(menu_changes, "proven_dongle", lambda run, folder: Found)
    monkeypatch.setattr(menu_changes, "erase_dongle", lambda run, dongle, folder: dongle)
    assert left(talk(tmp_path, menu_changes.erase, "yes"), "yes") == []


@pytest.mark.parametrize(
    "how", [{"trusted": True}, {}, {"password": "correct horse"}, {"password": "another horse"}]
)
def test_a_shell(tmp_path, how):
    if "password" in how:
        how = {"password": hash_password(how["password"])}
    seen = menu(tmp_path, "9", "correct horse", **how).rpartition(pseudo("make a report"))[2]
    assert left(seen, "correct horse") == []


# What happens at a start, as the console hears it.
EVENTS = [
    ("state.entered", {"state": "inst", "reason": _("the server wants {state}", state="inst")}),
    ("state.entered", {"state": "inst", "reason": error_text(ERROR)}),
    ("step.started", {"step": "inst", "title": Partition.title}),
    ("step.kept", {"step": "inst"}),
    ("step.done", {"step": "inst", "seconds": 1.0}),
    ("step.retry", {"step": "inst", "detail": error_text(ERROR), "seconds": 8.0}),
    ("step.progress", {"step": "inst", "detail": _("emptying the root volume")}),
    ("hardware.lacking", {"devices": ["/dev/sda"]}),
    *(
        ("wait.started", {"for": wanted(settings), "seconds": 90})
        for settings in (
            NetworkSettings(),
            NetworkSettings(device="eth0", vlan=5),
            NetworkSettings(IpMethod.STATIC, bond=("enp1s0", "enp2s0"), address="10.0.0.1"),
            NetworkSettings(IpMethod.NONE, address6="::1"),
            NetworkSettings(IpMethod.NONE),
        )
    ),
    ("network.up", {"interface": "eth0", "mac": "5", "address": "10.0.0.1", "gateway": "10.0.0.2"}),
    ("network.dead_end", {"interface": "eth0", "gateway": "10.0.0.2", "goal": "10.0.0.9"}),
    ("image.planned", {"image": "inst", "tree_bytes": 1, "cache_bytes": 1, "fetch_bytes": 1}),
    ("transfer", {"image": "inst", "network_bytes": 1, "cache_bytes": 1, "neighbour_bytes": 1}),
]


@pytest.mark.parametrize(("name", "data"), EVENTS)
def test_a_line_of_the_start_is_translated_and_the_log_is_not(tmp_path, name, data):
    console = Kept([])
    events = Events("t", (ConsoleView(console), LineFile(tmp_path / "events.jsonl")))
    events.tell(name, **data)
    assert console.text
    assert left(console.text, CODE) == []
    logged = (tmp_path / "events.jsonl").read_text()
    assert "«" not in str(json.loads(logged))


def test_the_question_before_something_is_destroyed(tmp_path):
    class Asked(Kept):
        def ask(self, question, *, listening):
            self.say(shown(question))
            listening()
            return "yes"

    told, console = [], Asked([])
    events = Events("t", (lambda event: told.append(event.data),))
    host = Host(None, None, events, console, Options(), tmp_path)
    used = replace(DISK, content=("DATA",))
    for disk in (used, replace(DISK, state=DiskState.BLANK)):
        step = ConfirmUsed()
        step._asked_about = lambda context, disk=disk: (disk,) if disk.content else ()
        context = type("Context", (), {"host": host, "facts": Facts((LAYOUT,))})
        step.run(context)
    assert left(console.text, "DATA", "yes") == []
    assert told[0]["question"] == "Install and DESTROY what is on /dev/sda (DATA DATA: DATA)?"


def test_the_plan_and_its_data_stay_english_for_programs():
    previews = [
        Preview("inst", Partition.title, Partition.effect, False, tuple(_changes(LAYOUT, PLANNED, DISK))),
        Preview("inst", CheckHardware.title, CheckHardware.effect, True),
        Preview(
            "inst", CheckHardware.title, CheckHardware.effect, False, blocked=error_text(ERROR), error=ERROR
        ),
        *Engine(None).preview([CheckHardware()]),
    ]
    names = (
        "DATA",
        "bios",
        "esp",
        "boot",
        "lvm",
        "pv",
        "swap, root, slivers",
        "check_hardware",
        "Inventory, NodeDetails",
        CODE,
    )
    assert left(plan_text(previews), *names) == []
    assert "«" not in json.dumps(plan_data(previews), ensure_ascii=False)


def test_results_of_hardware_tests():
    link = network.Link(True, 1000, "half", 0)
    nic = Nic("eth0", "5", "", "", "")
    broken = {
        "smart_status": {"passed": False},
        "nvme_smart_health_information_log": {
            "media_errors": 3,
            "percentage_used": 120,
            "critical_warning": 1,
        },
        "ata_smart_self_test_log": {"standard": {"table": [{"status": {"passed": False, "string": "DATA"}}]}},
    }
    table = report.text(
        [
            network.check_link(nic, link, replace(link, up=False)),
            network.check_link(nic, link, link),
            network.check_link(nic, link, replace(link, errors=3, speed=0)),
            clock.check_battery(None, None),
            clock.check_battery(clock.Tick(0, 0.0), clock.Tick(10, 10.0)),
            clock.check_system(None, error_text(ERROR)),
            smart.read("/dev/sda", {}),
            smart.read("/dev/sda", broken),
        ]
    )
    assert left(table, "network", "clock", "smart", "Mbit/s", "DATA", "memory]", "[insufficient-") == []


def test_letters_of_all_kinds_go_out_and_nothing_that_steers(texts_of):
    texts_of({"Trying again.": "Ещё раз, größer\x1b[2J\u202e."})
    eye, writing = os.pipe()
    Lines([Line("ttyS0", eye, writing)], lambda: "").say(_("Trying again."))
    assert os.read(eye, 1000).decode() == "Ещё раз, größer?[2J?.\n"
    os.close(eye)
    os.close(writing)


def test_how_debug_mode_stands_is_kept_as_people_see_it(tmp_path):
    ended = _("The node goes on: {reason}.", reason=_("the operator asked for {state}", state="boot"))
    replace(FAILED, ended=ended, ssh=_("no ssh: {error}", error=error_text(ERROR))).save(tmp_path)
    kept = load(tmp_path)
    assert left(kept.ended, "boot") == left(kept.ssh, CODE) == []
    # For who compares it with an error.
    assert kept.title == FAILED.title
