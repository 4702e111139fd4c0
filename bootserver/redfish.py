"""A machine's power by Redfish (DSP0266): three requests, and what they are answered is not trusted.

Of an answer so many bytes are read and no redirection is followed; what it names as a place is a path below
/redfish/v1 of the same controller, which is known by its certificate's fingerprint.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bootserver.bmc import (
    HOST,
    PORT,
    BadPowerSetting,
    BmcCannot,
    BmcCertificateChanged,
    BmcRefused,
    BmcUnreachable,
    Source,
    Switch,
)
from host.http import AnswerTooLong, HttpClient, ServerUnreachable, ServerUntrusted
from host.http_trust import reason, shown_fingerprint

CONNECT_SECONDS = 10.0
# Those of real machines are some tens of kilobytes.
MOST_BYTES = 512 * 1024
_ROOT = "/redfish/v1"
_PATH = re.compile(rf"{_ROOT}(/[A-Za-z0-9_~:-][A-Za-z0-9._~:-]{{0,99}}){{0,10}}/?")
_ADDRESS = re.compile(rf"https://({HOST})(:{PORT})?(?P<path>/.*)?")
_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,100}"')
_SYSTEMS = f"{_ROOT}/Systems"
_TARGETS = {Source.PXE: "Pxe", Source.USB: "Usb", Source.CD: "Cd", Source.DISK: "Hdd"}
# The later is what a controller is asked for that does not say which it knows.
_RESETS = {Switch.ON: ("On",), Switch.OFF: ("ForceOff",), Switch.CYCLE: ("PowerCycle", "ForceRestart")}
_REFUSED = (401, 403)
_UNKNOWN = (400, 404, 405, 409, 501)

Struct = dict[str, Any]


@dataclass(frozen=True)
class Redfish:
    """A controller by the URL of its machine, https://HOST[:PORT]/redfish/v1/Systems/ID; see bmc.Bmc."""

    address: str
    user: str
    password: str = field(repr=False)
    fingerprint: str

    def is_on(self) -> bool:
        """Say whether the machine has power."""
        state = self._system().get("PowerState")
        if not isinstance(state, str):
            raise BmcCannot(f"{self.address} does not say whether the power is on")
        return state != "Off"

    def boot_once_from(self, source: Source) -> None:
        """Let the machine start from there at its next start."""
        system = self._system()
        boot, target = _struct(system, "Boot"), _TARGETS[source]
        known = _list(boot, "BootSourceOverrideTarget@Redfish.AllowableValues")
        if known is not None and target not in known:
            raise BmcCannot(f"{self.address} starts nothing from {target} by order")
        wish = {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target}
        tag = system.get("@odata.etag")
        # Some controllers change nothing for who does not show that he has seen it.
        headers = {"If-Match": tag} if isinstance(tag, str) and _TAG.fullmatch(tag) else {}
        self._ask("PATCH", urlsplit(self.address).path, {"Boot": wish}, headers)

    def switch(self, how: Switch) -> None:
        """Switch the power at once."""
        system = self._system()
        if how is Switch.CYCLE and system.get("PowerState") == "Off":
            how = Switch.ON
        action = _struct(_struct(system, "Actions"), "#ComputerSystem.Reset")
        known = _list(action, "ResetType@Redfish.AllowableValues")
        kinds = _RESETS[how] if known is not None else _RESETS[how][-1:]
        kind = next((kind for kind in kinds if known is None or kind in known), None)
        if kind is None:
            raise BmcCannot(f"{self.address} knows no {' or '.join(kinds)}")
        self._ask("POST", _path(action.get("target")), {"ResetType": kind}, {})

    def found(self) -> Redfish:
        """Return the same for the one machine of the controller, where the address does not name one.

        Raises BadPowerSetting where there are several, and as bmc.Bmc does.
        """
        if urlsplit(self.address).path.rstrip("/"):
            return self
        members = _list(self._ask("GET", _SYSTEMS), "Members") or []
        paths = [_path(each.get("@odata.id")) for each in members if isinstance(each, dict)]
        if len(paths) != 1:
            shown = ", ".join(paths[:8]) or "none"
            raise BadPowerSetting(f"name one machine of this controller by its URL; there are: {shown}")
        return Redfish(self.address.rstrip("/") + paths[0], self.user, self.password, self.fingerprint)

    def _system(self) -> Struct:
        return self._ask("GET", urlsplit(self.address).path)

    def _ask(
        self, method: str, path: str, body: Struct | None = None, headers: dict[str, str] | None = None
    ) -> Struct:
        parts = urlsplit(self.address)
        url = f"{parts.scheme}://{parts.netloc}"
        client = HttpClient(url, fingerprint=self.fingerprint)
        proof = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        given = {"Authorization": f"Basic {proof}", "Accept": "application/json", **(headers or {})}
        data = None
        if body is not None:
            data, given["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            status, answer = client.exchange(method, path, data, given, limit=MOST_BYTES)
        except ServerUntrusted:
            raise BmcCertificateChanged(url) from None
        except (ServerUnreachable, AnswerTooLong) as error:
            raise BmcUnreachable(error.detail) from None
        told = f"{url}{path} answers {method} with status {status}"
        if status in _REFUSED:
            raise BmcRefused(f"{told}, user {self.user}")
        if status in _UNKNOWN:
            raise BmcCannot(told)
        if status not in (200, 201, 202, 204):
            raise BmcUnreachable(told)
        return _parsed(answer, url + path) if method == "GET" else {}


def checked_address(text: str) -> str:
    """Return the URL of a controller or of its machine. Raises BadPowerSetting."""
    found = _ADDRESS.fullmatch(text)
    path = (found["path"] or "").rstrip("/") if found else ""
    if found is None or (path and not (_PATH.fullmatch(path) and path.startswith(f"{_SYSTEMS}/"))):
        raise BadPowerSetting(f"{text!r} is not https://HOST[:PORT], maybe with {_SYSTEMS}/ID behind it")
    return text.rstrip("/")


def fingerprint_at(address: str) -> str:
    """Return the fingerprint of the certificate that is shown there. Raises BmcUnreachable."""
    parts = urlsplit(address)
    try:
        return shown_fingerprint(parts.hostname or "", parts.port or 443, CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise BmcUnreachable(f"{parts.netloc}: {reason(error)}") from None


def _parsed(answer: bytes, url: str) -> Struct:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BmcUnreachable(f"{url} answers with something else than a JSON object")
    return found


def _struct(whole: Struct, name: str) -> Struct:
    found = whole.get(name)
    if not isinstance(found, dict):
        raise BmcCannot(f"the controller tells nothing of {name}")
    return found


def _list(whole: Struct, name: str) -> list[object] | None:
    found = whole.get(name)
    return found if isinstance(found, list) else None


def _path(place: object) -> str:
    if not isinstance(place, str) or not _PATH.fullmatch(place):
        raise BmcUnreachable("the controller names a place that is no path of its own")
    return place
