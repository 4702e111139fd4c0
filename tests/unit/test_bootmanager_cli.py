"""bootmanager's command line, as far as it is not what a command does to a machine."""

import pytest
from click.testing import CliRunner

from bootmanager import cli
from bootmanager.engine import Engine
from host.ports import Host


@pytest.fixture
def asked(monkeypatch):
    """The plans that were looked at, by the names of their steps."""
    plans = []
    monkeypatch.setattr(cli, "_quiet_host", lambda: Host(None, None, None, None, None))
    monkeypatch.setattr(
        Engine, "preview", lambda engine, steps: plans.append([step.name for step in steps]) or ()
    )
    return plans


@pytest.mark.parametrize(
    ("state", "first"), [("new", "check_hardware"), ("inst", "verify_images"), ("boot", "validate")]
)
def test_states_are_named_as_in_the_manual(asked, state, first):
    done = CliRunner().invoke(cli.main, ["plan", state])
    assert done.exit_code == 0, done.output
    (names,) = asked
    assert names[names.index("check_in") + 1] == first


def test_there_is_nothing_to_plan_for_debug_mode():
    done = CliRunner().invoke(cli.main, ["plan", "dbg"])
    assert done.exit_code == 2
    assert "'new', 'inst', 'rins', 'boot'" in done.output
