"""A TLS server on the loopback: bootserver's answers, and whatever certificate a test wants."""

import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bootserver.calls import Calls
from bootserver.sessions import Sessions
from tests.host import loopback
from wire import xmlrpc

YEAR = 365 * 86400
YEAR_2000, YEAR_2090 = 30 * YEAR, 120 * YEAR


class TlsServer(ThreadingHTTPServer):
    """Keeps the methods that were called; `redirect` leads every GET there."""

    daemon_threads = True

    def __init__(self, context, state=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls = Calls(state, Sessions()) if state is not None else None
        self.methods = []
        self.redirect = ""
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self):
        return self.server_address[1]

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def handle_error(self, request, client_address):
        """Refused handshakes are what is tested here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._answer(b"here")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.methods.append(xmlrpc.load_call(body)[0])
        self._answer(self.server.calls.answer(body, "127.0.0.1"))

    def _answer(self, data):
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Say nothing."""


def context_of(issued, folder):
    """Return a server's context for a certificate that was issued."""
    path = folder / "server.pem"
    path.write_bytes(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def serving(context, state=None):
    """Serve for the length of a with block."""
    return loopback.serving(TlsServer(context, state))
