"""bootmanager's command line, as far as it is not what a command does to a machine."""

import pytest
from click.testing import CliRunner

from bootmanager import cli
from bootmanager.engine import Engine, Preview
from host.mark import NotInstalled
from host.options import load_options
from host.ports import Host
from steps.base import Effect


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


@pytest.mark.parametrize(
    ("error", "status"), [(None, 0), (NotInstalled("there is no /dev/bmnode/root", hint="Do this."), 1)]
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_plan_that_would_fail_says_what_to_do_and_ends_with_status_1(monkeypatch, error, status, form):
    # Not to be known before other steps ran is no failure.
    waits = Preview("repair", "Repair", Effect.CHANGES, False, blocked="not known before it runs: Mark")
    fails = Preview(
        "validate", "Validate", Effect.CHANGES, error is None, blocked=str(error or ""), error=error
    )
    monkeypatch.setattr(cli, "_quiet_host", lambda: Host(None, None, None, None, None))
    monkeypatch.setattr(Engine, "preview", lambda engine, steps: (fails, waits))
    done = CliRunner().invoke(cli.main, ["plan", "boot", "--format", form])
    assert done.exit_code == status
    assert ("Do this." in done.output) == (error is not None)
    assert ("[not-installed]" in done.output) == (error is not None)


def test_there_is_nothing_to_plan_for_debug_mode():
    done = CliRunner().invoke(cli.main, ["plan", "dbg"])
    assert done.exit_code == 2
    assert "'new', 'inst', 'rins', 'boot'" in done.output


def test_a_system_that_runs_from_a_disk_is_left_alone(tmp_path, monkeypatch):
    """Debug mode would replace its authorized_keys, and take its consoles."""
    arguments = tmp_path / "cmdline"
    arguments.write_text("root=/dev/mapper/bmnode-root ro console=ttyS0\n")
    monkeypatch.setattr(cli, "KERNEL_COMMAND_LINE", arguments)
    monkeypatch.setattr(cli, "STATE_FOLDER", tmp_path / "run")
    done = CliRunner().invoke(cli.main, ["dbg"])
    assert (done.exit_code, done.exception.__class__) == (1, SystemExit)
    assert "[not-boot-medium]" in done.output
    assert not (tmp_path / "run").exists()


def test_a_place_for_events_that_is_none_leads_to_debug_mode(tmp_path, monkeypatch):
    arguments, causes = tmp_path / "cmdline", []
    arguments.write_text("boot=live bm.events=/proc/nowhere/at/all\n")
    monkeypatch.setattr(cli, "KERNEL_COMMAND_LINE", arguments)
    monkeypatch.setattr(cli, "STATE_FOLDER", tmp_path)
    monkeypatch.setattr(cli, "load_options", lambda command_line: load_options(kernel=arguments))
    monkeypatch.setattr(cli, "BlivetStorage", lambda: None)
    monkeypatch.setattr(cli.Program, "__init__", lambda program, host, sink: None)
    monkeypatch.setattr(cli.Program, "fail", lambda program, cause: causes.append(cause))
    monkeypatch.setattr(cli.Program, "run", lambda program: None)
    CliRunner().invoke(cli.main, ["auto"], catch_exceptions=False)
    (cause,) = causes
    assert cause.code == "bad-option"
    assert "/proc/nowhere/at/all" in cause.detail
