"""The server's authority and certificate: made by init, on every key medium, renewed in time."""

import asyncio
import base64
import ssl
import time

import pytest
from click.testing import CliRunner

from bootserver import cli, cli_media, serve
from bootserver.tls import RENEW_BEFORE_SECONDS, NameNotCovered, NoAuthority, Tls
from host.http import Dates, HttpClient
from tests.unit.bootserver_deployment import Deployment
from wire import tls
from wire.nodeconf import NodeConfiguration, one_line, parse
from wire.nodefile import MalformedNodeConfiguration
from wire.tls import BadCertificate

KEY = base64.b64encode(bytes(32)).decode()
BASE = f'NODE_ID="7"\nNODE_KEY="{KEY}"\n'
DAY = 86400


@pytest.fixture
def made(tmp_path):
    found = Tls(tmp_path / "tls")
    found.make(["Boot.Example.org", "192.0.2.1", "[2001:db8::1]"])
    return found


def init(folder, *words):
    done = CliRunner().invoke(cli.main, ["--state", str(folder), "init", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_only_the_owner_reads_the_keys(made):
    assert made.folder.stat().st_mode & 0o777 == 0o700
    assert made.authority_key.stat().st_mode & 0o777 == 0o600
    assert made.server.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in made.authority.read_bytes()


def test_names_and_addresses_are_covered(made):
    names = made.described().names
    assert names == ("boot.example.org", "localhost", "192.0.2.1", "2001:db8::1", "127.0.0.1", "::1")


@pytest.mark.parametrize("name", ["", "a b", "a..b", "-?", "x" * 64 + ".org", "a/b", "*"])
def test_what_is_no_name(name):
    with pytest.raises(BadCertificate):
        tls.canonical_name(name)


def test_certificates_are_as_strict_readers_want_them(made):
    """RFC 5280: critical constraints, key usage, identifiers of subject and issuer."""
    from cryptography import x509

    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    server = x509.load_pem_x509_certificate(made.server.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = server.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert not usage.value.key_cert_sign
    identifier = server.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    subject = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert identifier.key_identifier == subject.key_identifier
    server.verify_directly_issued_by(authority)


def test_validity_begins_before_now_and_the_authority_outlives_the_media(made):
    server, authority = made.described(), tls.describe(made.authority.read_bytes())
    assert server.not_before < time.time() - DAY
    assert server.not_after == pytest.approx(time.time() + tls.SERVER_DAYS * DAY, abs=60)
    assert authority.not_after > time.time() + 29 * 365 * DAY


def test_renewing_keeps_authority_and_names_and_changes_the_key(made):
    before, authority = made.server.read_bytes(), made.authority.read_bytes()
    names = made.described().names
    made.renew()
    assert made.authority.read_bytes() == authority
    assert made.described().names == names
    assert made.server.read_bytes().split(b"PRIVATE")[1] != before.split(b"PRIVATE")[1]
    made.renew(["10.0.0.1"])
    assert "10.0.0.1" in made.described().names
    assert "192.0.2.1" not in made.described().names


@pytest.mark.parametrize(("left", "renewed"), [(DAY, False), (-DAY, True), (-400 * DAY, True)])
def test_it_is_renewed_in_time_and_not_before(made, monkeypatch, left, renewed):
    before = made.server.read_bytes()
    now = made.described().not_after - RENEW_BEFORE_SECONDS - left
    monkeypatch.setattr("bootserver.tls.time.time", lambda: now)
    assert made.renew_if_due() is renewed
    assert (made.server.read_bytes() != before) is renewed


def test_without_the_authoritys_key_the_server_goes_on_and_says_so(made, monkeypatch, caplog):
    made.authority_key.unlink()
    with pytest.raises(NoAuthority):
        made.renew()
    now = made.described().not_after
    monkeypatch.setattr("bootserver.tls.time.time", lambda: now)
    assert made.renew_if_due() is False
    assert "cannot be renewed" in caplog.text


def test_another_authoritys_key_issues_nothing(made):
    made.authority_key.write_bytes(tls.make_authority("another", time.time()).key)
    with pytest.raises(BadCertificate, match="does not belong"):
        made.renew()


def test_a_damaged_certificate_is_said(made):
    made.server.write_bytes(b"junk")
    with pytest.raises(BadCertificate):
        made.context()


class Context:
    """Counts how often a listener was given a certificate."""

    def __init__(self):
        self.loaded = 0

    def load_cert_chain(self, path):
        assert path.is_file()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
        self.loaded += 1


def test_a_listener_takes_up_what_was_renewed_and_nothing_else(made, monkeypatch, caplog):
    monkeypatch.setattr(serve, "FRESH_SECONDS", 0.01)
    context = Context()

    async def reach(times, said):
        while context.loaded < times or said not in caplog.text:
            await asyncio.sleep(0.01)

    async def live():
        task = asyncio.create_task(serve._keep_fresh(made, context))
        await asyncio.sleep(0.1)
        assert context.loaded == 0
        made.renew()
        await reach(1, "")
        good = made.server.read_bytes()
        made.server.write_bytes(b"junk")
        await reach(1, "goes on with the certificate that it has")
        made.server.write_bytes(good)
        await reach(2, "")
        task.cancel()

    asyncio.run(asyncio.wait_for(live(), 30))


def test_init_makes_a_certificate_for_the_servers_url(tmp_path):
    said = init(tmp_path / "s", "--server", "https://boot.example.org:8080", "--name", "192.0.2.1")
    assert "boot.example.org" in said
    assert {"boot.example.org", "192.0.2.1", "127.0.0.1"} <= set(Tls(tmp_path / "s/tls").described().names)


def test_init_with_a_plain_url_makes_none(tmp_path):
    assert "plain HTTP" in init(tmp_path / "s", "--server", "http://boot.example.org:8080")
    assert not Tls(tmp_path / "s/tls").present


def test_init_on_a_machine_with_a_strange_name(tmp_path, monkeypatch):
    monkeypatch.setattr("bootserver.tls.socket.gethostname", lambda: "my_machine")
    init(tmp_path / "s")
    assert "127.0.0.1" in Tls(tmp_path / "s/tls").described().names


def test_a_url_without_a_usable_host_leaves_nothing_behind(tmp_path):
    done = CliRunner().invoke(cli.main, ["--state", str(tmp_path / "s"), "init", "--server", "https://a b"])
    assert done.exit_code == 1
    assert not (tmp_path / "s").exists()


@pytest.fixture
def server(tmp_path, monkeypatch):
    deployment = Deployment(tmp_path / "state")
    deployment.state.tls.make(["10.0.2.2"])
    deployment.add()
    written = []
    monkeypatch.setattr(
        cli_media, "write_key_medium", lambda path, content, root, run: written.append(content)
    )
    deployment.written = written
    return deployment


def medium(server, *words):
    server.cli("media", "key", "node1", "k", *words)
    return parse(server.written[-1].to_text(), "the medium")


def test_the_medium_pins_the_authority(server):
    found = medium(server, "--server", "https://10.0.2.2:8080")
    assert ssl.PEM_cert_to_DER_cert(found.authority) == ssl.PEM_cert_to_DER_cert(
        server.state.tls.authority.read_text()
    )


def test_plain_http_is_what_was_asked_for_and_pins_nothing(server):
    assert medium(server, "--server", "http://10.0.2.2:8080").authority == ""


@pytest.mark.parametrize("url", ["https://10.0.2.3:8080", "https://boot.example.org"])
def test_no_medium_for_a_name_that_the_certificate_is_not_for(server, url):
    said = server.cli("media", "key", "node1", "k", "--server", url, status=1)
    assert NameNotCovered.code in said
    assert server.written == []


def test_the_operator_sees_and_renews(server):
    before = server.cli_json("tls", "show")
    assert "10.0.2.2" in before["names"]
    assert len(before["authority_sha256"]) == 64
    assert "boot2" in server.cli("tls", "renew", "--name", "boot2", "--name", "10.0.2.2")
    after = server.cli_json("tls", "show")
    assert "boot2" in after["names"]
    assert after["authority_sha256"] == before["authority_sha256"]
    server.cli("tls", "new", "--yes")
    assert server.cli_json("tls", "show")["authority_sha256"] != before["authority_sha256"]
    assert server.cli_json("tls", "show")["names"] == after["names"]
    assert "authority" in server.cli("tls", "show")


def test_https_needs_the_authority():
    with pytest.raises(MalformedNodeConfiguration, match="BOOT_CA is missing"):
        parse(BASE + 'BOOT_SERVER="https://x"\n', "key")


@pytest.mark.parametrize("value", ["x", "AAAA", base64.b64encode(b"0" * 300).decode()])
def test_what_is_no_certificate(value):
    text = BASE + f'BOOT_SERVER="https://x"\nBOOT_CA="{value}"\n'
    with pytest.raises(MalformedNodeConfiguration, match="line 4: BOOT_CA is not a certificate"):
        parse(text, "key")


def test_the_authority_survives_the_way_to_the_medium_and_back(made):
    pem = made.authority.read_text()
    text = BASE + f'BOOT_SERVER="https://x"\nBOOT_CA="{one_line(pem)}"\n'
    found: NodeConfiguration = parse(text, "key")
    assert one_line(found.authority) == one_line(pem)


@pytest.mark.parametrize("dates", list(Dates))
def test_verification_is_never_off(made, dates):
    http = HttpClient("https://x", authority=made.authority.read_text(), dates=dates)
    context = http._session.get_adapter("https://x")._context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert bool(context.verify_flags & 0x200000) is (dates is Dates.POSTPONED)
    assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
