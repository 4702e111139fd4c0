"""TLS with the deployment's own authority: real handshakes on the loopback.

A node whose clock says 2099 sees every certificate as one of the past, one whose clock says 1970 as one of
the future. So certificates of the years 2000 and 2090 stand for nodes with such clocks.
"""

import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bootserver import enrolment, nodes
from bootserver.catalogue import publish
from bootserver.media import EnrolmentFile
from bootserver.state import initialise
from bootserver.tls import Tls
from host.console import Console
from host.events import Events
from host.http import Dates, HttpClient, ServerUnreachable, ServerUntrusted
from host.journal import Journal
from host.network import NetworkUp
from host.options import Options
from host.ports import Host
from host.run import Runner
from host.server import ServerClient
from hwdetect.media import Candidate, Media
from images.cache import Cache
from steps import set_clock
from steps.base import Context, Facts
from steps.check_in import CheckIn
from steps.enrol import Enrol, WaitsForAdmission
from steps.read_configuration import ReadConfiguration
from steps.set_clock import SetClock
from tests.host.server_process import Process
from tests.host.tls_server import YEAR, YEAR_2000, YEAR_2090, context_of, serving
from wire import tls
from wire.messages import NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration, parse
from wire.nodenet import NetworkSettings

pytestmark = pytest.mark.host
NAMES = ("127.0.0.1", "boot.example.org")
BOTH = pytest.mark.parametrize("dates", list(Dates))
ELSEWHEN = pytest.mark.parametrize("when", [YEAR_2000, YEAR_2090], ids=["clock 2099", "clock 1970"])


@pytest.fixture(scope="module")
def authority():
    return tls.make_authority("the deployment's", time.time())


@pytest.fixture
def serve(authority, tmp_path):
    """Serve with a certificate by the authority, or by another one, for names, from a time on."""

    def made(*, by=authority, names=NAMES, now=None, state=None):
        issued = tls.issue(by, names, time.time() if now is None else now)
        return serving(context_of(issued, tmp_path), state)

    return made


def get(server, authority, dates=Dates.JUDGED, **options):
    http = HttpClient(server.url, authority=authority.certificate.decode(), dates=dates, **options)
    return http.get("/", limit=100)


@BOTH
def test_the_deployments_server_is_trusted(serve, authority, dates):
    with serve() as server:
        assert get(server, authority, dates) == b"here"


@BOTH
def test_another_authority_is_refused(serve, authority, dates):
    other = tls.make_authority("another", time.time())
    with serve(by=other) as server, pytest.raises(ServerUntrusted, match="server-untrusted"):
        get(server, authority, dates)


@BOTH
def test_another_host_is_refused(serve, authority, dates):
    names = ("192.0.2.1", "other.example.org")
    with serve(names=names) as server, pytest.raises(ServerUntrusted, match=r"127\.0\.0\.1"):
        get(server, authority, dates)


@BOTH
def test_without_an_authority_nobody_is_trusted(serve, authority, dates, monkeypatch, tmp_path):
    # Neither by what this system trusts, in whatever way it is told to.
    (tmp_path / "bundle.pem").write_bytes(authority.certificate)
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(tmp_path / "bundle.pem"))
    with serve() as server, pytest.raises(ServerUntrusted):
        HttpClient(server.url, dates=dates).get("/", limit=100)


@BOTH
def test_no_other_authority_slips_in(serve, authority, dates):
    with serve() as server:
        http = HttpClient(server.url, authority=authority.certificate.decode(), dates=dates)
        http.get("/", limit=100)
        context = http._session.get_adapter(server.url)._context
        assert context.cert_store_stats()["x509"] == 1


@BOTH
def test_a_server_of_the_deployment_vouches_for_no_other(authority, tmp_path, dates):
    """Whoever has a server's certificate and key still issues nothing, though the chain is complete."""
    middle = tls.issue(authority, NAMES, time.time())
    issued = tls.issue(middle, NAMES, time.time())
    path = tmp_path / "chain.pem"
    path.write_bytes(issued.certificate + middle.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with serving(context) as server, pytest.raises(ServerUntrusted):
        get(server, authority, dates)


@ELSEWHEN
def test_dates_are_judged_except_while_the_time_is_learnt(serve, authority, when):
    with serve(now=when) as server:
        assert get(server, authority, Dates.POSTPONED) == b"here"
        with pytest.raises(ServerUntrusted) as refused:
            get(server, authority, Dates.JUDGED)
        assert "valid" in refused.value.detail or "expired" in refused.value.detail
        assert "tls renew" in refused.value.advice


@ELSEWHEN
def test_chain_and_name_are_judged_also_while_the_time_is_learnt(serve, authority, when):
    other = tls.make_authority("another", when)
    with serve(now=when, by=other) as server, pytest.raises(ServerUntrusted):
        get(server, authority, Dates.POSTPONED)
    with serve(now=when, names=("other.example.org",)) as server, pytest.raises(ServerUntrusted):
        get(server, authority, Dates.POSTPONED)


@ELSEWHEN
def test_the_authoritys_own_dates_are_judged_too(serve, when):
    elsewhen = tls.make_authority("the deployment's", when, days=365)
    with serve(by=elsewhen) as server:
        assert get(server, elsewhen, Dates.POSTPONED) == b"here"
        with pytest.raises(ServerUntrusted):
            get(server, elsewhen, Dates.JUDGED)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_version_is_fixed(authority, tmp_path, version):
    context = context_of(tls.issue(authority, NAMES, time.time()), tmp_path)
    context.minimum_version = context.maximum_version = version
    with serving(context) as server:
        assert get(server, authority) == b"here"


def test_a_server_that_speaks_no_tls_is_no_server(authority):
    with serving(None) as server, pytest.raises(ServerUnreachable):
        get(server, authority)


def test_nobody_is_led_elsewhere(serve, authority):
    with serving(None) as other, serve() as server:
        server.redirect = f"http://127.0.0.1:{other.port}/"
        with pytest.raises(ServerUnreachable, match="302"):
            get(server, authority)


def test_plain_http_goes_on_where_it_is_configured():
    with serving(None) as server:
        assert HttpClient(f"http://127.0.0.1:{server.port}").get("/", limit=100) == b"here"


@pytest.fixture
def proxy():
    """An HTTP proxy that knows CONNECT; gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run():
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            wanted = near.recv(65536).split()[1].decode()
            far = socket.create_connection(wanted.split(":"))
            near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=copy, args=(one, other), daemon=True).start()

    def copy(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    threading.Thread(target=run, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()


def test_a_proxy_changes_nothing_of_it(serve, authority, proxy):
    with serve() as server:
        assert get(server, authority, proxy=proxy) == b"here"
    for wrong in ({"by": tls.make_authority("another", time.time())}, {"names": ["x.example"]}):
        with serve(**wrong) as server, pytest.raises(ServerUntrusted):
            get(server, authority, proxy=proxy)


@pytest.fixture
def state(tmp_path):
    made = initialise(tmp_path / "state", {})
    with made.database.write() as session:
        publish(session, "base", "b" * 64)
        nodes.add(session, made.master, "node1", TargetState.INST, "base")
    return made


def configuration(state, server, authority):
    with state.database.read() as session:
        node = nodes.find(session, "node1")
        key = nodes.key_of(state.master, node)
        return NodeConfiguration(
            node.id, key, server.url, NetworkSettings(), authority=authority.certificate.decode()
        )


@ELSEWHEN
def test_only_the_call_that_learns_the_time_goes_before_dates_are_judged(serve, state, authority, when):
    with serve(now=when, state=state) as server:
        client = ServerClient.of(configuration(state, server, authority), "10.0.2.15")
        client.open()
        assert client.server_now() == pytest.approx(time.time(), abs=5)
        for _ in range(2):
            with pytest.raises(ServerUntrusted):
                client.call("BootGetNodeDetails")
        assert set(server.methods) == {"OpenSession"}, "no call with content was sent"


@pytest.mark.parametrize("clock", [0.0, 129 * YEAR], ids=["1970", "2099"])
def test_a_node_with_a_wrong_clock_checks_in(serve, state, authority, monkeypatch, tmp_path, clock):
    """This machine's own clock stays as it is: what the step reads and sets is replaced."""
    now, setting = [clock], []

    class Clock:
        CLOCK_REALTIME = time.CLOCK_REALTIME

        def time(self):
            return now[0]

        def clock_settime(self, which, value):
            assert which == time.CLOCK_REALTIME
            setting.append(value)
            now[0] = value

    monkeypatch.setattr(set_clock, "time", Clock())
    with serve(state=state) as server:
        up = NetworkUp("eth0", "52:54:00:00:00:01", "10.0.2.15", "10.0.2.2")
        given = configuration(state, server, authority)
        events = Events("t")
        facts = Facts((given, up, Journal(tmp_path / "journal"), Cache(None, events)))
        host = Host(Runner(), None, events, Console([]), Options(), tmp_path)
        context = Context(host, facts)
        assert not SetClock().observe(context).holds
        assert server.methods == ["OpenSession"]
        SetClock().run(context)
        assert setting == [pytest.approx(time.time(), abs=5)]
        found = SetClock().observe(context)
        assert found.holds
        checked = CheckIn().observe(Context(host, facts.plus(*found.facts)))
        assert isinstance(checked.facts[0], NodeDetails)
        assert server.methods[-2:] == ["OpenSession", "BootGetNodeDetails"], "in the session that was opened"


@ELSEWHEN
def test_a_node_without_identity_is_enrolled_whatever_its_clock_says(serve, state, authority, tmp_path, when):
    with serve(now=when, state=state) as server:
        text = EnrolmentFile(server.url, authority=authority.certificate.decode()).to_text()
        medium = Media(candidates=(Candidate("/dev/sda", "/dev/sda", "plnode.txt", text),))
        ports = Host(None, None, None, None, None, tmp_path)
        found = ReadConfiguration().observe(Context(ports, Facts((medium,))))
        up = NetworkUp("eth0", "52:54:00:00:00:01", "10.0.2.15", "10.0.2.2")
        context = Context(ports, Facts((*found.facts, up)))
        assert NetworkSettings in context.facts
        for _ in range(2):
            with pytest.raises(WaitsForAdmission, match="52:54:00:00:00:01") as waits:
                Enrol().observe(context)
        assert (tmp_path / "enrolment.key").stat().st_mode & 0o777 == 0o600
        mark = waits.value.detail.rpartition("fingerprint ")[2]
        with state.database.write() as session:
            enrolment.admit(session, state, mark, "node2", TargetState.INST, known=False)
        (given,) = Enrol().observe(context).facts
    with serve(state=state) as server:
        given = replace(given, server=server.url)
        assert ServerClient.of(given, "10.0.2.15").call("GetSlivers")["hostname"] == "node2"
        known = Context(ports, Facts((given, up)))
        assert Enrol().observe(known).facts == (given,), "who has a key medium asks nobody"
        assert "EnrolNode" not in server.methods


def test_a_renewed_certificate_is_taken_up_without_a_restart(tmp_path):
    made = Tls(tmp_path / "tls")
    made.make(NAMES)
    context = made.context()
    authority = tls.Issued(made.authority.read_bytes(), b"")
    with serving(context) as server:
        before = ssl.get_server_certificate(("127.0.0.1", server.port))
        made.renew()
        made.load(context)
        after = ssl.get_server_certificate(("127.0.0.1", server.port))
        assert before != after
        assert get(server, authority) == b"here"


def bootserver(folder, *words):
    line = [sys.executable, "-m", "bootserver", "--state", str(folder), *map(str, words)]
    return subprocess.run(
        line, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    ).stdout


def test_from_init_to_the_first_call(tmp_path):
    """The real server, the real key medium, nothing configured but the URL."""
    folder = tmp_path / "state"
    bootserver(folder, "init", "--server", "https://127.0.0.1:1")
    bootserver(folder, "node", "add", "node1")
    server = Process(folder)
    try:
        assert server.nodes.startswith("https://127.0.0.1:")
        assert server.operator.startswith("http://127.0.0.1:")
        bootserver(folder, "media", "key", "node1", folder / "key.img", "--server", server.nodes)
        text = subprocess.run(
            ["mtype", "-i", folder / "key.img", "::plnode.txt"], check=True, capture_output=True, text=True
        ).stdout
        client = ServerClient.of(parse(text, "the medium"), "10.0.2.15")
        assert client.call("GetSlivers")["hostname"] == "node1"
        with pytest.raises(ServerUntrusted):
            HttpClient(server.nodes).get("/", limit=100)
    finally:
        server.end()
    assert (folder / "tls/ca.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "tls/server.pem").stat().st_mode & 0o777 == 0o600
