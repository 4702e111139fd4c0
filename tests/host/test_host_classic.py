"""Classic boot managers, and this project's own classic client, before the real server process.

Sockets, Python's own XML-RPC client, plain HTTP.
"""

import http.client
import json
import urllib.request
import xmlrpc.client
from dataclasses import replace

import pytest

from host.classic_client import ClassicClient, client_for
from host.events import Events
from host.report import ServerSink
from host.server import AuthenticationRefused
from tests.classic_boot_managers import BootManager, boot_of_2007, boot_of_later_years
from tests.host.server_process import Process, cli, key_file
from wire.messages import NodeDetails, TargetState
from wire.nodeconf import parse
from wire.structure import structure

pytestmark = pytest.mark.host


@pytest.fixture
def manager(server):
    configuration = parse(key_file(server.folder), "the medium")
    with xmlrpc.client.ServerProxy(server.nodes + "/PLCAPI/") as proxy:
        yield BootManager(proxy, configuration.node_id, configuration.key.to_text())


def switch(server, *words):
    cli(server.folder, "node", "classic", "node1", *words)


def test_the_boot_manager_of_2007(server, manager):
    with pytest.raises(xmlrpc.client.Fault) as refused:
        boot_of_2007(manager, [])
    assert refused.value.faultCode == 103
    # The command line marks the node beside the running server.
    switch(server, "--on")
    states = []
    boot_of_2007(manager, states)
    assert states == ["inst", "boot"]
    shown = server.get("/api/nodes/node1")
    assert (shown["boot_state"], shown["address"]) == ("boot", "127.0.0.1")


def test_the_boot_manager_of_later_years(server, manager):
    switch(server, "--on")
    cli(server.folder, "node", "state", "node1", "rins")
    states = []
    flavour = boot_of_later_years(manager, states)
    assert states == ["reinstall", "boot"]
    name = f"bootstrapfs-{flavour['nodefamily']}.tar.bz2"
    (server.folder / "classic").mkdir(exist_ok=True)
    (server.folder / "classic" / name).write_bytes(b"an archive")
    with urllib.request.urlopen(f"{server.nodes}/boot/{name}", timeout=60) as answer:
        assert answer.read() == b"an archive"
    assert upload(server, b"the log") == 200
    (log,) = (server.folder / "classic/logs/1").iterdir()
    assert log.read_bytes() == b"the log"
    with urllib.request.urlopen(f"{server.nodes}/boot/getnodeid.php", data=b"", timeout=60) as answer:
        assert answer.read() == b"1"


def upload(server, content):
    """Post a log as curl's --form does; return the status."""
    part = b'--B\r\nContent-Disposition: form-data; name="log"; filename="bm.log"\r\n'
    part += b"Content-Type: application/octet-stream\r\n\r\n" + content
    part += b'\r\n--B\r\nContent-Disposition: form-data; name="hostname"\r\n\r\nnode1\r\n--B--\r\n'
    connection = http.client.HTTPConnection(server.nodes.removeprefix("http://"), timeout=60)
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    connection.request("POST", "/boot/upload-bmlog.php", part, headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("protocol", ["plcapi", "plcapi-session"])
def test_this_projects_own_node_by_the_classic_protocol(folder, server, protocol):
    text = key_file(folder) + f'PROTOCOL="{protocol}"\nBASE_IMAGE="base@{"a" * 64}"\n'
    configuration = parse(text, "the medium")
    node = client_for(replace(configuration, server=server.nodes), "10.0.0.7")
    assert isinstance(node, ClassicClient)
    with pytest.raises(AuthenticationRefused):
        node.call("BootGetNodeDetails")
    switch(server, "--on")
    details = structure(node.call("BootGetNodeDetails"), NodeDetails)
    assert (details.hostname, details.boot_state) == ("node1", TargetState.INST)
    node.call("ReportRunlevel", {"run_level": "reinstall"})
    assert server.get("/api/nodes/node1")["run_level"] == "reinstall"
    node.call("BootUpdateNode", {"boot_state": "boot", "run_id": details.run_id, "ssh_host_key": "ssh-x AA"})
    shown = server.get("/api/nodes/node1")
    assert (shown["boot_state"], shown["ssh_host_keys"]) == ("boot", ["ssh-x AA"])
    sink = ServerSink()
    sink.connect(node)
    events = Events("bootmanager", (sink,))
    events.tell("step.done", step="x", detail="grüße")
    events.tell("chain.started", how="kexec")
    assert sink.flush(60)
    (log,) = (folder / "classic/logs/1").iterdir()
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == [
        "step.done",
        "chain.started",
    ]


def test_a_restart_ends_sessions_and_no_more(folder, server, manager):
    switch(server, "--on")
    manager.session = manager.hmac("GetSession")
    assert server.end() == 0
    again = Process(folder)
    try:
        with xmlrpc.client.ServerProxy(again.nodes + "/PLCAPI/") as proxy:
            manager.proxy = proxy
            with pytest.raises(xmlrpc.client.Fault, match="103"):
                manager.in_session("AuthCheck")
            boot_of_later_years(manager, [])
    finally:
        again.end()


def test_no_classic_secret_in_the_log_or_in_a_readable_file(folder, server, manager):
    key = "0123456789abcdef0123456789abcdef"
    (folder.parent / "key").write_text(key)
    switch(server, "--on", "--key-file", folder.parent / "key")
    manager.key = key
    session = manager.hmac("GetSession")
    manager.session = session
    assert manager.in_session("AuthCheck") == 1
    manager.session = "x" + session
    with pytest.raises(xmlrpc.client.Fault):
        manager.in_session("AuthCheck")
    assert server.end() == 0
    for path in folder.rglob("*"):
        if path.is_file():
            for secret in (key, session):
                assert secret.encode() not in path.read_bytes(), path
