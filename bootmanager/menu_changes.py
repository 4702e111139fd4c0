"""Entries of debug mode's menu that change something; each says what, and asks."""

from __future__ import annotations

from bootmanager import standing
from bootmanager.asking import WAITING, say_if_waiting
from bootmanager.menu_desk import Desk, agreed, one_of
from bootmanager.wish import STATES, leave_wish
from host.alone import alone
from host.files import write_atomic
from host.terminal import Terminal
from host.texts import _, shown
from host.this_boot import FILE, interfaces
from hwdetect.erase_dongle import erase_dongle, proven_dongle
from wire.nodenet import NETWORK_KEYS, matters, parse_network

CACHE_FOLDER = "cache"
_NONE = "-"
_WHAT = {
    "new": _("Shows what would be done, asks once more, and installs this machine."),
    "inst": _("Installs; asks once more where a disk to be written is not blank."),
    "rins": _("Reinstalls WITHOUT a question: disks that are blank, ours, or named."),
    "boot": _("Starts what is installed."),
    "dbg": _("Stays in debug mode."),
}
_DESTROYING = ("new", "inst", "rins")


def retry(desk: Desk, terminal: Terminal) -> None:
    """End debug mode and do what the server wants."""
    terminal.say(_("Trying again."))
    say_if_waiting(terminal, desk.host.state_dir)
    leave_wish(desk.host.run, desk.host.state_dir)


def state(desk: Desk, terminal: Terminal) -> None:
    """End debug mode for a state that a person names; the steps to it ask and prove as they always do."""
    for name, what in _WHAT.items():
        terminal.say(f"  {name:<5} {shown(what)}")
    chosen = one_of(terminal, _("Which state, for this boot only?"), STATES)
    if not chosen or (chosen in _DESTROYING and not agreed(terminal, _WHAT[chosen])):
        return
    desk.host.events.tell("menu.state", state=chosen)
    say_if_waiting(terminal, desk.host.state_dir)
    leave_wish(desk.host.run, desk.host.state_dir, chosen)


def network(desk: Desk, terminal: Terminal) -> None:
    """Take network settings that count until the machine is switched off, in place of the key medium's."""
    place = desk.host.state_dir / FILE
    now = standing.load(desk.host.state_dir)
    before = dict(_pairs(place.read_text() if place.exists() else now.network if now else ""))
    terminal.say("\n".join([shown(_("Interfaces:")), *(f"  {each}" for each in interfaces(desk.host.run))]))
    terminal.say(_("Enter keeps what stands in brackets, {none} takes it away.", none=_NONE))
    typed: dict[str, str] = {}
    for key in NETWORK_KEYS:
        if not matters(key, typed):
            continue
        answer = terminal.ask(f"{key} [{before.get(key, '')}]:") or before.get(key, "")
        if answer and answer != _NONE:
            typed[key] = answer
    text = "".join(f'{key}="{value}"\n' for key, value in typed.items())
    parse_network(text, "what was typed")
    if agreed(terminal, _("{settings}Use these until the machine is switched off?", settings=text)):
        write_atomic(place, text)
        desk.host.events.tell("menu.network", settings=text.splitlines())
        terminal.say(_("They count from the next try on; `try again` makes it now."))


def erase(desk: Desk, terminal: Terminal) -> None:
    """Empty the cache dongle, where there is proof that bootmanager made it and nothing else is on it."""
    run, folder = desk.host.run, desk.host.state_dir / CACHE_FOLDER
    with alone(desk.host.state_dir, waiting=lambda: terminal.say(WAITING)):
        dongle = proven_dongle(run, folder)
    size = dongle.size_bytes // 2**20
    if not agreed(terminal, _("Erase the cache dongle on {disk}, {size} MiB?", disk=dongle.disk, size=size)):
        return
    terminal.say(_("Erasing; leave it in ..."))
    with alone(desk.host.state_dir, waiting=lambda: terminal.say(WAITING)):
        made = erase_dongle(run, dongle, folder)
    desk.host.events.tell("dongle.erased", device=made.device)
    terminal.say(_("It is empty, and in use as the cache again."))


def _pairs(text: str) -> list[tuple[str, str]]:
    found = (line.partition("=") for line in text.splitlines())
    return [(key, value.strip("\"' ")) for key, _, value in found]
