"""Commands that hints and pages name exist, with the options that stand there."""

import re

import click
import pytest

from bootmanager.cli import main as bootmanager
from bootserver.cli import main as bootserver
from configmanager.cli import main as configmanager
from tests.unit.errors_manual import all_errors
from tests.unit.test_house_docs import PAGES, ROOT

PROGRAMS = {"bootmanager": bootmanager, "bootserver": bootserver, "configmanager": configmanager}
NAMED = rf"((?:{'|'.join(PROGRAMS)})(?: [^\s`|;<>()]+)+)"


def faults(text):
    """Return what is wrong with a command line as people write it down."""
    program, *words = text.split()
    command = PROGRAMS[program]
    words = [word.strip("[].,:\"'") for word in words]
    if words[:1] == ["--state"]:
        words = words[2:]
    while isinstance(command, click.Group) and words and re.fullmatch("[a-z-]+", words[0]):
        name = words.pop(0)
        if name not in command.commands:
            return f"{text!r}: no command {name}"
        command = command.commands[name]
        if isinstance(command, click.Group):
            # Such as the name of a node, before what is done about it.
            words = words[sum(isinstance(each, click.Argument) for each in command.params) :]
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        return f"{text!r}: no command {words[0]}"
    known = {"--help", *(name for each in command.params for name in (*each.opts, *each.secondary_opts))}
    return ", ".join(
        f"{text!r}: no option {word}" for word in words if word[:2] == "--" and word not in known
    )


def test_hints_name_commands_that_exist():
    hints = [str(kind.hint) for kind in all_errors()]
    named = [each for hint in hints for each in re.findall(rf"(?:`|: |\(|with ){NAMED}", hint)]
    assert len(named) > 30
    assert list(filter(None, map(faults, named))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_commands_that_exist(page):
    text = page.read_text().replace("\\\n", " ")
    named = re.findall(rf"(?:`|^    (?:\S+ )*?){NAMED}", text, re.MULTILINE)
    assert list(filter(None, map(faults, named))) == []


def test_every_command_of_the_server_is_on_its_page():
    page = (ROOT / "docs/server.md").read_text()
    names = [
        f"{group} {name}" if isinstance(command, click.Group) else group
        for group, command in bootserver.commands.items()
        for name in getattr(command, "commands", [""])
    ]
    assert [name for name in names if f"`{name}" not in page] == []
