"""A node's power by the commands: Redfish from a simulated controller, IPMI from OpenIPMI's ipmi_sim."""

import json
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from bootserver import events, nodes
from bootserver.bmc import Source
from bootserver.cli import main
from bootserver.ipmi import Ipmi
from bootserver.state import initialise, open_state
from host.http import HttpClient, ServerUntrusted
from host.run import Runner
from tests.host.loopback import serving
from tests.host.secret_forms import Search
from tests.host.server_process import ROOT, bootserver
from tests.redfish_bmc import PASSWORD, RESET, SYSTEM, USER, RedfishBmc, Switched
from wire.messages import TargetState

pytestmark = pytest.mark.host


def tried(folder, *words, said=""):
    """Run a command; return its exit status, and what it said to whom."""
    done = CliRunner().invoke(main, ["--state", str(folder), *map(str, words)], input=said)
    return done.exit_code, done.stdout, done.stderr


def cli(folder, *words):
    status, out, error = tried(folder, *words)
    assert status == 0, error
    return out


def refused(folder, code, *words, said=""):
    status, out, error = tried(folder, *words, said=said)
    assert status == 1, (out, error)
    assert f"[{code}]" in error
    return error


@pytest.fixture
def folder(tmp_path):
    state = initialise(tmp_path / "state", {})
    with state.database.write() as session:
        nodes.add(session, state.master, "node1", TargetState.BOOT, "base")
    state.database.close()
    return state.folder


@pytest.fixture
def machine():
    return Switched()


@pytest.fixture
def bmc(tmp_path, machine):
    with serving(RedfishBmc(tmp_path, machine)) as server:
        yield server


def set_words(bmc, url=""):
    known = ("--fingerprint", bmc.fingerprint, "--password-file", "-")
    return ("node", "power", "node1", "set", "--redfish", url or bmc.url, "--user", USER, *known)


@pytest.fixture
def controlled(folder, bmc):
    """A deployment whose node1 is controlled by the simulated controller."""
    status, out, error = tried(folder, *set_words(bmc), said=PASSWORD + "\n")
    assert (status, out) == (0, f"node1: {bmc.url}{SYSTEM}; its power is on\n"), error
    bmc.asked.clear()
    return folder


def test_the_power_is_switched(controlled, machine):
    assert cli(controlled, "node", "power", "node1", "off", "--yes")
    assert not machine.is_on
    assert cli(controlled, "node", "power", "node1", "status") == "node1: off\n"
    # One without power gets it by a cycle, too.
    cli(controlled, "node", "power", "node1", "cycle", "--yes")
    cli(controlled, "node", "power", "node1", "cycle", "--yes")
    assert machine.starts == [None, None]
    told = cli(controlled, "node", "events", "node1")
    assert told.count("power.switched") == 3


def test_nobody_has_a_way_out_without_yes(controlled, machine):
    assert tried(controlled, "node", "power", "node1", "off", said="n\n")[0] == 1
    assert machine.is_on


def test_the_password_is_nowhere(controlled, bmc, tmp_path):
    search = Search()
    search.add("password", PASSWORD.encode())
    shown = [
        subprocess.run([*bootserver(controlled), *words], cwd=ROOT, capture_output=True, check=True)
        for words in (
            ("-v", "node", "power", "node1", "status"),
            ("node", "show", "node1"),
            ("node", "events", "node1", "--format", "json"),
        )
    ]
    assert b"on" in shown[0].stdout
    bmc.instead[SYSTEM] = (401, {}, b"")
    shown.append(tried(controlled, "node", "power", "node1", "status"))
    search.look("output", repr(shown))
    search.look_below(controlled)
    assert search.found == []
    row = json.loads(cli(controlled, "node", "show", "node1", "--format", "json"))
    assert row["power"] == f"redfish {bmc.url}{SYSTEM}, user {USER}"
    assert cli(controlled, "node", "power", "node1", "unset")
    assert json.loads(cli(controlled, "node", "show", "node1", "--format", "json"))["power"] == ""
    refused(controlled, "no-power-control", "node", "power", "node1", "status")


def test_another_certificate_hears_nothing(controlled, bmc, tmp_path, machine):
    refused(controlled, "bmc-certificate-changed", *set_words(bmc)[:-3], "0" * 64, "--password-file", "-")
    bmc.renew_certificate(tmp_path)
    refused(controlled, "bmc-certificate-changed", "node", "power", "node1", "cycle", "--yes")
    assert bmc.asked == []
    assert machine.starts == []


def test_a_certificate_is_shown_and_has_to_be_confirmed(folder, bmc):
    words = ("node", "power", "node1", "set", "--redfish", bmc.url, "--user", USER)
    (folder / "password").write_text(PASSWORD + "\n")
    status, out, _ = tried(folder, *words, "--password-file", folder / "password", said="n\n")
    assert status == 1
    assert bmc.fingerprint in out.replace(":", "")
    assert bmc.asked == []
    assert tried(folder, *words, "--password-file", folder / "password", said="y\n")[0] == 0


def test_a_wrong_password_is_refused_and_not_kept(folder, bmc):
    refused(folder, "bmc-refused", *set_words(bmc), said="wrong\n")
    refused(folder, "no-power-control", "node", "power", "node1", "status")


def test_of_several_machines_one_has_to_be_named(folder, bmc):
    bmc.systems = [SYSTEM, "/redfish/v1/Systems/2"]
    error = refused(folder, "bad-power-setting", *set_words(bmc), said=PASSWORD + "\n")
    assert "/redfish/v1/Systems/2" in error
    assert tried(folder, *set_words(bmc, bmc.url + SYSTEM), said=PASSWORD + "\n")[0] == 0


SOUND = json.dumps({"PowerState": "On", "Actions": {"#ComputerSystem.Reset": {"target": RESET}}}).encode()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((200, {}, b"[" * 100_000), "bmc-unreachable"),
        ((200, {}, SOUND + b" " * 600_000), "bmc-unreachable"),
        ((200, {}, b"[1]"), "bmc-unreachable"),
        ((302, {"Location": "/redfish/v1/Systems/2"}, SOUND), "bmc-unreachable"),
        ((503, {}, b""), "bmc-unreachable"),
        ((403, {}, b""), "bmc-refused"),
        ((404, {}, b""), "bmc-cannot"),
        ((200, {}, b'{"PowerState": 1}'), "bmc-cannot"),
        ((200, {}, b'{"PowerState": "On"}'), "bmc-cannot"),
        ((200, {}, b'{"PowerState": "On", "Actions": {"#ComputerSystem.Reset": []}}'), "bmc-cannot"),
    ],
)
def test_whatever_it_answers_it_costs_little_and_says_why(controlled, bmc, answer, code):
    bmc.instead[SYSTEM] = answer
    begun = time.monotonic()
    refused(controlled, code, "node", "power", "node1", "cycle", "--yes")
    assert time.monotonic() - begun < 20
    assert [method for method, _, _ in bmc.asked] == ["GET"]


@pytest.mark.parametrize("target", ["https://127.0.0.1:1/x", "//127.0.0.1:1/", "/x", f"{RESET}?a", 7, None])
def test_it_leads_nobody_anywhere_else(controlled, bmc, target):
    reset = {"target": target, "ResetType@Redfish.AllowableValues": ["On", "PowerCycle"]}
    whole = {"PowerState": "On", "Actions": {"#ComputerSystem.Reset": reset}}
    bmc.instead[SYSTEM] = (200, {}, json.dumps(whole).encode())
    refused(controlled, "bmc-unreachable", "node", "power", "node1", "cycle", "--yes")
    assert [method for method, _, _ in bmc.asked] == ["GET"]


def test_a_pinned_client_believes_one_certificate_only(bmc):
    good = HttpClient(bmc.url, fingerprint=bmc.fingerprint)
    assert good.exchange("GET", SYSTEM, None, {}, limit=9)[0] == 401
    bad = HttpClient(bmc.url, fingerprint="0" * 64)
    with pytest.raises(ServerUntrusted):
        bad.exchange("GET", SYSTEM, None, {}, limit=9)
    with pytest.raises(ServerUntrusted):
        HttpClient(bmc.url).exchange("GET", SYSTEM, None, {}, limit=9)


def test_nobody_there(folder, bmc):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    refused(folder, "bmc-unreachable", *set_words(bmc, f"https://127.0.0.1:{port}"), said="x\n")


class IpmiBmc:
    """OpenIPMI's simulator. `asked` is what it wanted of the machine, which a script notes."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "state").mkdir(parents=True)
        (folder / "power").write_text("0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        script = folder / "control"
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {folder}/asked\n'
            f'[ "$1 $2" = "set power" ] && echo $3 > {folder}/power\n'
            f'[ "$1 $2" = "get power" ] && echo power:$(cat {folder}/power)\n'
            '[ "$1 $2" = "get boot" ] && echo boot:default\nexit 0\n'
        )
        script.chmod(0o755)
        allowed = "\n".join(
            f"allowed_auths_{who} none md2 md5 straight" for who in ("callback", "user", "operator", "admin")
        )
        (folder / "lan.conf").write_text(
            f'name "bmc"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {self.port}\npriv_limit admin\n'
            f'{allowed}\nguid a123456789abcdefa123456789abcdef\nendlan\nchassis_control "{script}"\n'
            f'user 2 true "{USER}" "{PASSWORD}" admin 10 none md2 md5 straight\n'
        )
        (folder / "commands").write_text(
            "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n"
            "mc_enable 0x20\n"
        )
        line = ["ipmi_sim", "-c", "lan.conf", "-f", "commands", "-s", "state", "-n"]
        self.process = subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def wanted(self):
        lines = (self.folder / "asked").read_text().splitlines()
        return [line for line in lines if line.startswith("set ")]

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def ipmi(tmp_path):
    made = IpmiBmc(tmp_path / "bmc")
    yield made
    made.end()


def test_the_power_is_switched_by_ipmi(folder, ipmi):
    """In one test, because the simulator keeps each command waiting for seconds."""
    words = ("node", "power", "node1", "set", "--ipmi", ipmi.address, "--user", USER, "--password-file", "-")
    refused(folder, "bmc-refused", *words, said="wrong\n")
    refused(folder, "bad-power-setting", *words, said="longer-than-ipmi-takes\n")
    status, out, arguments = watched(folder, *words, said=PASSWORD + "\n")
    assert (status, out) == (0, f"node1: {ipmi.address}; its power is off\n")
    assert arguments
    assert not any(PASSWORD.encode() in text for text in arguments)
    cli(folder, "node", "power", "node1", "cycle", "--yes")
    Ipmi(ipmi.address, USER, PASSWORD, Runner()).boot_once_from(Source.PXE)
    assert ipmi.wanted() == ["set power 1", "set boot pxe"]
    ipmi.end()
    refused(folder, "bmc-unreachable", "node", "power", "node1", "status")


def watched(folder, *words, said):
    """Run a command as a process; return its status, its words, and what all may see of ipmitool."""
    line = [*bootserver(folder), *words]
    process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write(said)
    process.stdin.close()
    seen = set()
    while process.poll() is None:
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                argv, environment = ((place / name).read_bytes() for name in ("cmdline", "environ"))
                if b"lanplus" in argv:
                    seen |= {argv, environment}
        time.sleep(0.05)
    return process.returncode, process.stdout.read(), seen


class Reinstalled(Switched):
    """A machine that, once started from the network, tells what a node does that reinstalls itself."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def turn_on(self, source):
        super().turn_on(source)
        if source != "Pxe":
            return
        with open_state(self.folder).database.write() as session:
            node = nodes.find(session, "node1")
            told = [("bootmanager", "state.entered", {"state": "rins"}), ("bootmanager", "chain.started", {})]
            told.append(("configmanager", "runlevel", {"run_level": "boot"}))
            for seq, (program, name, data) in enumerate(told):
                event = {"seq": seq, "program": program, "run": node.run_id, "event": name, **data}
                events.keep(session, node, event, time.time())
            nodes.set_intent(node, TargetState.BOOT)


def test_a_node_is_reinstalled_by_its_power(controlled, bmc):
    bmc.machine = Reinstalled(controlled)
    said = cli(controlled, "node", "reinstall", "node1", "--yes", "--timeout", "20")
    assert bmc.machine.starts == ["Pxe"]
    assert "node1 is up: run level boot" in said
    wish = {"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}}
    assert ("PATCH", SYSTEM, wish) in bmc.asked


def test_a_node_whose_power_stays_off_is_reported_with_its_last_word(controlled, bmc, machine):
    machine.turn_on = lambda source: None
    status, _, error = tried(controlled, "node", "reinstall", "node1", "--yes", "--timeout", "1")
    assert status == 3
    assert "1 s without a word; of this run it has told nothing [node-never-came-back]" in error
    assert not machine.is_on
    assert json.loads(cli(controlled, "node", "show", "node1", "--format", "json"))["boot_state"] == "rins"


def test_where_the_medium_cannot_be_chosen_nothing_is_changed(controlled, bmc, machine):
    bmc.targets = ["None", "Hdd"]
    refused(controlled, "bmc-cannot", "node", "reinstall", "node1", "--yes", "--timeout", "1")
    assert machine.starts == []
    assert json.loads(cli(controlled, "node", "show", "node1", "--format", "json"))["boot_state"] == "boot"


def test_a_controller_that_refuses_the_reset_leaves_an_order_that_is_told(controlled, bmc, machine):
    bmc.instead[RESET] = (403, {}, b"")
    error = refused(controlled, "bmc-refused", "node", "reinstall", "node1", "--yes", "--timeout", "1")
    shown = json.loads(cli(controlled, "node", "show", "node1", "--format", "json"))
    assert (shown["boot_state"], machine.starts) == ("rins", [])
    assert f"(run {shown['run_id']}) and does so at its next start; its power was not switched." in error
    del bmc.instead[RESET]
    cli(controlled, "node", "power", "node1", "cycle", "--yes")
    assert machine.starts == ["Pxe"]
