"""The server as a process: real sockets and signals, the real client, the key medium's filesystem."""

import json
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

from host.http import HttpClient, ServerUnreachable
from host.server import AuthenticationRefused, ServerClient
from tests.host.server_process import ROOT, Process, bootserver, cli, key_file
from wire.errors import BootError
from wire.nodeconf import parse

pytestmark = pytest.mark.host


def client(server):
    configuration = parse(key_file(server.folder), "the medium")
    http = HttpClient(server.nodes)
    return ServerClient(http, configuration.node_id, configuration.key, "10.0.2.15")


def test_the_key_medium_is_what_a_node_looks_for(folder):
    text = key_file(folder, "--static", "10.0.2.15/24", "--gateway", "10.0.2.2", "--dns", "10.0.2.3")
    configuration = parse(text, "the medium")
    assert (configuration.server, configuration.hostname) == ("http://10.0.2.2:8080", "node1")
    network = configuration.network
    assert (network.address, network.prefix_length, network.gateway) == ("10.0.2.15", 24, "10.0.2.2")
    assert network.dns == ("10.0.2.3",)
    probed = subprocess.run(
        ["blkid", "-p", "-o", "export", folder / "key.img"], check=True, capture_output=True, text=True
    ).stdout
    assert "LABEL=BMKEY" in probed
    assert "TYPE=vfat" in probed
    assert (folder / "key.img").stat().st_mode & 0o777 == 0o600


def test_the_key_medium_of_a_vlan_on_a_bond_and_one_that_a_node_would_refuse(folder):
    macs = ("52:54:00:00:00:01", "52:54:00:00:00:02")
    network = parse(
        key_file(folder, "--set", f"BOND_DEVICES={' '.join(macs)}", "--set", "VLAN_ID=42"), "the medium"
    ).network
    assert (network.bond, network.vlan) == (macs, 42)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        key_file(folder, "--set", "VLAN_ID=4095", "--device", "eno1")
    assert "VLAN_ID is not a number from 1 to 4094" in refused.value.stderr


def test_one_listener_answers_both_versions_of_ip(tmp_path):
    folder = tmp_path / "state"
    cli(folder, "init", "--server", "https://[::1]:8443")
    cli(folder, "node", "add", "node1", "--state", "inst")
    configuration = parse(key_file(folder), "the medium")
    assert configuration.server == "https://[::1]:8443"
    server = Process(folder, listen="[::]:0")
    try:
        port = server.nodes.rpartition(":")[2]
        for host, own in (("[::1]", "::1"), ("127.0.0.1", "127.0.0.1")):
            http = HttpClient(f"https://{host}:{port}", authority=configuration.authority)
            node = ServerClient(http, configuration.node_id, configuration.key)
            assert node.call("ReportRunlevel", {"run_level": "safeboot"}) == 1
            # It named no address of its own, so it is known by that of its connection.
            assert json.loads(cli(folder, "node", "show", "node1", "--format", "json"))["address"] == own
    finally:
        server.end()


def test_two_threads_of_a_node_share_a_session(server):
    node = client(server)
    errors = []

    def report(program):
        try:
            for seq in range(40):
                event = {"event": "x", "program": program, "seq": seq, "time": float(seq)}
                node.call("BootReportEvents", [event])
        except BootError as error:
            errors.append(error)

    threads = [threading.Thread(target=report, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    rows = server.get("/api/nodes/node1/events")
    for program in ("one", "two"):
        assert [row["seq"] for row in rows if row["program"] == program] == list(range(40))


def test_a_restart_costs_a_node_nothing(folder, server):
    node = client(server)
    node.call("GetSlivers")
    port = int(server.nodes.rpartition(":")[2])
    assert server.end() == 0
    with pytest.raises(ServerUnreachable):
        node.call("GetSlivers")
    again = Process(folder)
    try:
        # The new process has a port of its own: lead the old address there.
        with Forwarder(port, int(again.nodes.rpartition(":")[2])):
            assert node.call("GetSlivers")["hostname"] == "node1"
    finally:
        again.end()


class Forwarder:
    """Leads one port to another, for one connection at a time."""

    def __init__(self, source, target):
        self._listening = socket.create_server(("127.0.0.1", source), reuse_port=False)
        self._target = target
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listening.close()

    def _run(self):
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except ConnectionRefusedError:
                # The server ended, which the caller is to see as if it had called there.
                near.close()
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one, other):
        while data := one.recv(65536):
            other.sendall(data)


def test_the_command_line_works_beside_the_running_server(folder, server):
    node = client(server)
    stop = threading.Event()

    def report():
        seq = 0
        while not stop.is_set():
            seq += 1
            event = {"event": "x", "program": "p", "seq": seq, "time": 0.0}
            node.call("BootReportEvents", [event])

    thread = threading.Thread(target=report)
    thread.start()
    try:
        for number in range(3):
            printed = json.loads(cli(folder, "node", "state", "node1", "rins", "--format", "json"))
            assert server.get("/api/nodes/node1")["run_id"] == printed["run_id"], number
    finally:
        stop.set()
        thread.join()
    cli(folder, "node", "remove", "node1", "--yes")
    with pytest.raises(AuthenticationRefused):
        node.call("GetSlivers")


def test_calls_are_not_held_back_by_the_network_stack(server):
    node = client(server)
    node.call("GetSlivers")
    # Nagle's algorithm against delayed acknowledgements would make every one of them 40 ms at least; a busy
    # machine only most.
    assert any(_seconds_of_a_call(node) < 0.035 for _ in range(200))


def _seconds_of_a_call(node):
    before = time.monotonic()
    node.call("GetSlivers")
    return time.monotonic() - before


def test_a_port_in_use_is_said(folder, server):
    port = server.nodes.rpartition(":")[2]
    words = [*bootserver(folder), "serve", "--listen", f"127.0.0.1:{port}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot-listen" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_also_while_pages_wait(server, how):
    with urllib.request.urlopen(server.operator + "/events", timeout=30) as page:
        assert page.readline().startswith(b"data: ")
        before = time.monotonic()
        assert server.end(how) == 0
    assert time.monotonic() - before < 20
    assert "Traceback" not in (server.folder / "log").read_text()


def test_no_secret_in_the_log_or_in_a_readable_file(folder, server):
    node = client(server)
    node.call("GetSlivers")
    with pytest.raises(AuthenticationRefused):
        ServerClient(HttpClient(server.nodes), 4711, parse(key_file(folder), "x").key).call("GetSlivers")
    key = parse(key_file(folder), "x").key
    (folder / "key.img").unlink()
    assert server.end() == 0
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            for secret in (key.secret, key.to_text().encode(), key.secret.hex().encode()):
                assert secret not in data, path
    assert (folder / "master.key").stat().st_mode & 0o777 == 0o600
