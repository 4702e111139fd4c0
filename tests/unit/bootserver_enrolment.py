"""A machine without identity, and what an operator does about it."""

from dataclasses import replace

from host.enrol import announce
from host.server import ServerClient
from tests.unit.bootserver_deployment import Wire
from wire.enrolment import EnrolmentKey, Token, fingerprint
from wire.nodeconf import EnrolmentConfiguration
from wire.nodenet import NetworkSettings

MAC = "52:54:00:AB:CD:EF"
HTTPS = EnrolmentConfiguration("https://server", NetworkSettings())


class Machine:
    """A node without identity, of this boot."""

    def __init__(self, server, token=None, mac=MAC):
        self.server, self.mac = server, mac
        self.key = EnrolmentKey.generate()
        self.wire = Wire(server.web)
        self.configuration = replace(HTTPS, token=token)

    @property
    def fingerprint(self):
        return fingerprint(self.key.public)

    def ask(self):
        return announce(self.wire, self.configuration, self.key, self.mac)

    def works(self):
        """Whether what it was given is an identity."""
        given = self.ask()
        client = ServerClient(Wire(self.server.web), given.node_id, given.key, "10.0.2.15")
        return client.call("GetSlivers")["hostname"]


def new_token(server, *words):
    return Token.from_text(server.cli("token", "new", "--site", "berlin.example.org", *words))


def waiting(server):
    return server.cli_json("node", "waiting")
