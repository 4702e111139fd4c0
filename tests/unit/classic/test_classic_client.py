"""A node that speaks the classic protocol with this project's own server."""

import json
from dataclasses import replace

import pytest

from host.classic_client import ClassicClient, NotClassic, client_for
from host.console import Console
from host.events import Events
from host.journal import Journal
from host.network import NetworkUp
from host.options import Options
from host.ports import Host
from host.report import ServerSink
from host.run import Runner
from host.server import AuthenticationRefused, ServerClient
from images.cache import Cache
from steps.base import Context, Facts
from steps.check_in import CheckIn
from steps.set_clock import SetClock
from tests.unit.bootserver_deployment import Deployment
from tests.unit.classic.plcapi import KEY, MANIFEST, Web, client, configuration, details
from wire.messages import NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration, Protocol, parse


@pytest.fixture
def server(tmp_path):
    deployment = Deployment(tmp_path / "state")
    deployment.add()
    (tmp_path / "key").write_text(KEY)
    deployment.cli("node", "classic", "node1", "--on", "--key-file", tmp_path / "key")
    return deployment


@pytest.mark.parametrize("protocol", ["plcapi", "plcapi-session"])
@pytest.mark.parametrize("state", ["new", "inst", "rins"])
def test_an_installation_from_check_in_to_boot(server, protocol, state):
    server.cli("node", "state", "node1", state)
    node = client(Web(server.web), protocol)
    first = details(node)
    assert (first.hostname, first.boot_state) == ("node1", state)
    assert (first.base_image.name, first.base_image.manifest) == ("base", MANIFEST)
    assert node.call("ReportRunlevel", {"run_level": "reinstall"}) == 1
    assert server.node().run_level == "reinstall"
    report = {"boot_state": "boot", "run_id": first.run_id, "ssh_host_key": "ssh-x AA\n", "inventory": {}}
    assert node.call("BootUpdateNode", report) == 1
    assert server.node().boot_state == "boot"
    assert server.node().ssh_host_keys == ["ssh-x AA"]
    assert details(node).boot_state is TargetState.BOOT
    told = server.operator.get("/api/nodes/node1/events").json()
    assert [event["code"] for event in told] == ["installfinished"]


@pytest.mark.parametrize("protocol", ["plcapi", "plcapi-session"])
def test_a_wrong_key_and_an_unmarked_node_are_refused(server, protocol):
    wrong = ClassicClient(Web(server.web), configuration(protocol, key=KEY[::-1]))
    with pytest.raises(AuthenticationRefused):
        details(wrong)
    node = client(Web(server.web), protocol)
    details(node)
    server.cli("node", "classic", "node1", "--off")
    with pytest.raises(AuthenticationRefused):
        details(node)


def test_a_session_that_the_server_forgot_is_opened_anew(server):
    node = client(Web(server.web), "plcapi-session")
    details(node)
    client(Web(server.web), "plcapi-session").call("BootGetNodeDetails")
    assert details(node).hostname == "node1"


def test_the_log_is_sent_when_a_boot_ends(server):
    node = client(Web(server.web))
    details(node)
    sink = ServerSink(pause_seconds=0)
    events = Events("bootmanager", (sink,))
    sink.connect(node)
    events.tell("step.started", step="x")
    events.tell("chain.started", how="kexec")
    assert sink.flush(30)
    assert server.node().run_level == "boot"
    (log,) = (server.folder / "classic/logs/1").iterdir()
    told = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert told == ["step.started", "chain.started"]


def test_the_steps_of_the_start_by_the_classic_protocol(server, tmp_path, monkeypatch):
    monkeypatch.setattr("host.classic_client.http_of", lambda _: Web(server.web))
    told = []
    host = Host(Runner(), None, Events("t", (told.append,)), Console([]), Options(), tmp_path / "ram")
    known = (
        configuration(),
        NetworkUp("eth0", "52:54:00:AB:CD:EF", "10.0.0.7", "10.0.0.1"),
        Journal(tmp_path / "journal"),
        Cache(None, Events("t")),
    )
    clock = SetClock().observe(Context(host, Facts(known)))
    assert clock.holds
    proven = Facts((*known, *clock.facts))
    assert isinstance(proven[ServerClient], ClassicClient)
    after = Facts(CheckIn().observe(Context(host, proven)).facts)
    assert after[NodeDetails].boot_state is TargetState.INST
    assert [event.event for event in told] == ["clock.unknown"]
    # One boot remembers its run, without a dongle too.
    reborn = Facts((*known, *SetClock().observe(Context(host, Facts(known))).facts))
    again = Facts(CheckIn().observe(Context(host, reborn)).facts)
    assert again[NodeDetails] == after[NodeDetails]


def test_the_key_medium_says_what_is_spoken():
    found = configuration()
    assert (found.protocol, found.key.secret) == (Protocol.PLCAPI, KEY.encode())
    assert isinstance(client_for(found, ""), ClassicClient)


def test_without_protocol_it_is_the_projects_own(server):
    text = f'NODE_ID="1"\nNODE_KEY="{server.key().to_text()}"\nBOOT_SERVER="http://x"\n'
    found = parse(text, "the medium")
    assert (found.protocol, found.base_image) == (Protocol.SIGNED, None)
    assert type(client_for(found, "")) is ServerClient


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('PROTOCOL="plcapi"', 'PROTOCOL="plc"', "PROTOCOL is none of"),
        (f"base@{MANIFEST}", "base", "BASE_IMAGE is not of the form"),
        (f"base@{MANIFEST}", f"base@{MANIFEST.upper()}", "BASE_IMAGE is not of the form"),
        (f'BASE_IMAGE="base@{MANIFEST}"', "", "BASE_IMAGE is missing"),
        (KEY, "short", "NODE_KEY is malformed"),
        ('PROTOCOL="plcapi"', "", "NODE_KEY is malformed"),
    ],
)
def test_bad_key_media(old, new, reason):
    text = (
        f'NODE_ID="1"\nNODE_KEY="{KEY}"\nBOOT_SERVER="http://plc"\nPROTOCOL="plcapi"\n'
        f'BASE_IMAGE="base@{MANIFEST}"\n'
    )
    with pytest.raises(Exception, match=reason) as refused:
        parse(text.replace(old, new), "the medium")
    assert KEY not in str(refused.value)


def test_a_configuration_without_an_image_is_said(server):
    bare = replace(configuration(), base_image=None)
    assert isinstance(bare, NodeConfiguration)
    with pytest.raises(NotClassic, match="base image"):
        details(ClassicClient(Web(server.web), bare))
