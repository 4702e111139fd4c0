"""The node's side of enrolment: announces this run's key pair, and opens the identity that comes back."""

from __future__ import annotations

from typing import Any

from host.http import HttpClient
from host.server import PATH, CallRefused, ServerNotAuthentic
from wire import enrolment, xmlrpc
from wire.enrolment import EnrolmentKey, announcement_mac, answer_mac
from wire.nodeconf import EnrolmentConfiguration, NodeConfiguration
from wire.session import new_nonce, same_mac
from wire.structure import MalformedMessage


def announce(
    http: HttpClient, configuration: EnrolmentConfiguration, key: EnrolmentKey, address: str
) -> NodeConfiguration | None:
    """Ask for an identity as the machine with the MAC address `address`; None as long as it has to wait.

    Raises ServerNotAuthentic, GrantNotOpened, CallRefused, ServerUnreachable, ServerUntrusted,
    MalformedMessage.
    """
    nonce, address, token = new_nonce(), address.upper(), configuration.token
    said: dict[str, Any] = {"mac": address, "public_key": key.public, "nonce": nonce}
    if token is not None:
        proof = announcement_mac(token.key(), token.name, address, key.public, nonce)
        said |= {"token": token.name, "proof": proof}
    try:
        body = xmlrpc.dump_call(enrolment.METHOD, [said])
        reply = xmlrpc.load_reply(http.post(PATH, body, content_type="text/xml", limit=xmlrpc.MAXIMUM_BYTES))
    except xmlrpc.Fault as fault:
        raise CallRefused(f"{enrolment.METHOD}: fault {fault.faultCode}: {fault.faultString}") from None
    grant = _believed(reply, configuration, said)
    if not grant:
        return None
    match grant:
        case {"node_id": int(node_id), "sealed": str(sealed), "ephemeral": str(ephemeral)} if node_id > 0:
            node_key = key.open(node_id, sealed, ephemeral, nonce)
        case _:
            raise MalformedMessage(f"{enrolment.METHOD}: a grant without node_id, sealed and ephemeral")
    return NodeConfiguration(
        node_id,
        node_key,
        configuration.server,
        configuration.network,
        proxy=configuration.proxy,
        authority=configuration.authority,
    )


def _believed(reply: Any, configuration: EnrolmentConfiguration, said: dict[str, Any]) -> dict[str, Any]:
    """Return the grant, {} for none; only from who knows the token or has the server's certificate."""
    match reply:
        case {"state": str(state), "grant": dict(grant), "time": int(now)}:
            value = reply.get("value")
        case _:
            raise MalformedMessage(f"{enrolment.METHOD}: not a struct of state, grant and time")
    if value is not None and configuration.token is not None:
        wanted = answer_mac(configuration.token.key(), said["proof"], state, grant, now)
        if not isinstance(value, str) or not same_mac(value, wanted):
            raise ServerNotAuthentic(f"{configuration.server}: the answer's MAC is wrong")
    elif grant and not configuration.server.startswith("https:"):
        raise ServerNotAuthentic(f"{configuration.server}: an identity that nobody vouches for")
    return grant
