"""A simulated management controller that speaks Redfish, with a certificate that nobody vouches for.

The machine behind it is anything with `is_on`, `turn_on(source)` and `turn_off()`; `source` is what an
override said, None without one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from wire.tls import make_authority

SYSTEM = "/redfish/v1/Systems/1"
RESET = f"{SYSTEM}/Actions/ComputerSystem.Reset"
USER, PASSWORD = "operator", "Tr0ub4dor-and-3"


class Powered(Protocol):
    """What has power or not."""

    @property
    def is_on(self) -> bool: ...

    def turn_on(self, source: str | None) -> None: ...

    def turn_off(self) -> None: ...


class Switched:
    """A machine that is nothing but its power; `starts` are the sources that it was started from."""

    def __init__(self, is_on: bool = True) -> None:
        self.is_on = is_on
        self.starts: list[str | None] = []

    def turn_on(self, source: str | None) -> None:
        self.is_on = True
        self.starts.append(source)

    def turn_off(self) -> None:
        self.is_on = False


class RedfishBmc(ThreadingHTTPServer):
    """`asked` is what was asked, in order; `instead` has what is answered to a path whatever is asked.

    `targets` and `resets` are what the machine can, None if it does not say.
    """

    daemon_threads = True

    def __init__(self, folder: Path, machine: Powered) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.machine = machine
        self.asked: list[tuple[str, str, Any]] = []
        self.instead: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.systems = [SYSTEM]
        self.targets: list[str] | None = ["None", "Pxe", "Cd", "Usb", "Hdd"]
        self.resets: list[str] | None = ["On", "ForceOff", "ForceRestart"]
        self._once: str | None = None
        self.renew_certificate(folder)

    def renew_certificate(self, folder: Path) -> None:
        """Show another certificate from now on."""
        made = make_authority("BMC", time.time())
        (folder / "bmc.pem").write_bytes(made.certificate + made.key)
        self.fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(made.certificate.decode())).hexdigest()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "bmc.pem")

    def get_request(self) -> tuple[Any, Any]:
        plain, address = super().get_request()
        return self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"

    def get(self, path: str) -> dict[str, Any]:
        if path == "/redfish/v1/Systems":
            return {"Members": [{"@odata.id": each} for each in self.systems]}
        boot: dict[str, Any] = {"BootSourceOverrideEnabled": "Once" if self._once else "Disabled"}
        reset: dict[str, Any] = {"target": RESET}
        if self.targets is not None:
            boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = self.targets
        if self.resets is not None:
            reset["ResetType@Redfish.AllowableValues"] = self.resets
        state = "On" if self.machine.is_on else "Off"
        actions = {"#ComputerSystem.Reset": reset}
        return {"@odata.etag": 'W/"7"', "PowerState": state, "Boot": boot, "Actions": actions}

    def patch(self, said: dict[str, Any]) -> None:
        assert said["Boot"]["BootSourceOverrideEnabled"] == "Once"
        self._once = said["Boot"]["BootSourceOverrideTarget"]

    def reset(self, how: str) -> None:
        if how != "On":
            self.machine.turn_off()
        if how != "ForceOff":
            source, self._once = self._once, None
            self.machine.turn_on(source)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever leaves at the certificate is tested here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RedfishBmc

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, body))
        proof = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.path in self.server.instead:
            self._say(*self.server.instead[self.path])
        elif self.headers.get("Authorization") != proof:
            self._say(401, {}, b"")
        elif self.command == "GET":
            self._say(200, {}, json.dumps(self.server.get(self.path)).encode())
        elif self.command == "PATCH" and self.headers.get("If-Match") == 'W/"7"':
            self.server.patch(body)
            self._say(204, {}, b"")
        elif self.command == "POST" and self.path == RESET:
            self.server.reset(body["ResetType"])
            self._say(204, {}, b"")
        else:
            self._say(404, {}, b"")

    do_GET = do_PATCH = do_POST = _answer

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
