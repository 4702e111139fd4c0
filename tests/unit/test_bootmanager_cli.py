"""bootmanager's command line, as far as it is not what a command does to a machine."""

import json

import pytest
from click.testing import CliRunner

from bootmanager import cli
from bootmanager.engine import Engine, Preview
from bootmanager.hwtest.result import judged
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


@pytest.mark.parametrize(("outcome", "status"), [("", 0), ("16 pending sectors", 1)])
@pytest.mark.parametrize("form", ["text", "json"])
def test_hardware_tests_end_with_status_1_where_one_failed(monkeypatch, tmp_path, outcome, status, form):
    asked = []

    def run(host, names, **how):
        asked.append((names, how["long"], how["drive_test"]))
        how["progress"]("half of it")
        return (judged("smart", "/dev/sda", outcome, "", "healthy"),)

    monkeypatch.setattr(cli, "run_tests", run)
    monkeypatch.setattr(cli, "STATE_FOLDER", tmp_path)
    monkeypatch.setattr(cli, "_quiet_host", lambda *sinks: None)
    done = CliRunner().invoke(cli.main, ["test", "disk", "--long", "--format", form])
    assert done.exit_code == status, done.output
    assert asked == [(("disk",), True, False)]
    assert done.stderr == "half of it\n"
    if form == "json":
        (result,) = json.loads(done.stdout)
        assert (result["test"], result["outcome"]) == ("smart", "failed" if status else "passed")
    else:
        assert f"{'failed' if status else 'passed'}" in done.stdout
