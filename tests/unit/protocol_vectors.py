"""docs/protocol-vectors.json and the example in docs/protocol.md, from the code that nodes and server run.

To write both: python -m tests.unit.protocol_vectors.
"""

import base64
import json
import re
from pathlib import Path

from wire import xmlrpc
from wire.canonical import canonical
from wire.changes import ChangesKey
from wire.session import METHOD, NodeKey, Session, mac

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "protocol.md"
VECTORS = DOCS / "protocol-vectors.json"
EXAMPLE = re.compile(r"(<!-- example: begin -->\n).*?(<!-- example: end -->)", re.DOTALL)

NODE, ADDRESS = 7, "10.0.2.15"
KEY = NodeKey(bytes(range(32)))
CLIENT_NONCE, SERVER_NONCE = "c1" * 32, "5e" * 32
SESSION = "0000000000001a2b" + "00112233aabbccdd" + CLIENT_NONCE
TIME = 1_800_000_000

VALUES = {
    "nil": None,
    "false": False,
    "true": True,
    "zero": 0,
    "one": 1,
    "a negative integer": -42,
    "an integer of 64 bits": 2**63 - 1,
    "a double": 2.5,
    "a double that looks like an integer": 1.0,
    "a negative zero": -0.0,
    "no text": "",
    "the text 1": "1",
    "text whose length is in bytes": "Zoë ☃",
    "text with line ends": "a\r\nb\n",
    "text that XML escapes": "<a & 'b' \"c\">",
    "bytes": b"\x00\xff",
    "no list": [],
    "a list": [1, "a", {"k": True}],
    "a list in a list": [["a"], "b"],
    "the same words, split otherwise": [["a", "b"]],
    "no struct": {},
    "keys in the order of their bytes": {"b": 1, "a": 2, "B": 3, "é": 4, "aa": 5},
}
CALLS = [
    ("BootGetNodeDetails", [], {"value": {"node_id": NODE, "hostname": "node1", "boot_state": "inst"}}),
    ("ReportRunlevel", [{"run_level": "boot"}], {"value": 1}),
    ("ReportRunlevel", [{"run_level": "flying"}], {"fault": {"code": 102, "text": "run_level: unknown"}}),
    ("BootReportEvents", [[{"event": "x", "program": "p", "seq": 1, "time": 0.5}]], {"value": 1}),
]
REFUSED = {
    "a document type": "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY e 'x'>]><methodCall/>",
    "an integer of 65 bits": "<value><int>9223372036854775808</int></value>",
    "a time": "<value><dateTime.iso8601>20260101T00:00:00</dateTime.iso8601></value>",
    "a key twice": "<value><struct><member><name>a</name><value>1</value></member>"
    "<member><name>a</name><value>2</value></member></struct></value>",
    "nested too deep": "<value>" + "<array><data><value>" * 33 + "</value></data></array>" * 33 + "</value>",
}


def in_xml(value: object) -> str:
    """Return a value as its XML-RPC element."""
    body = xmlrpc.dump_reply(value).decode()
    return body.partition("<param>\n")[2].partition("</param>")[0].replace(">\n<", "><").strip()


def values() -> list[dict[str, object]]:
    return [
        {"what": what, "xml": in_xml(value), "canonical_hex": canonical(value).hex()}
        for what, value in VALUES.items()
    ]


def session() -> Session:
    return Session.derive(KEY, NODE, SESSION, CLIENT_NONCE, SERVER_NONCE)


def opening() -> dict[str, object]:
    made = session()
    reply = {
        "session": SESSION,
        "nonce": SERVER_NONCE,
        "time": TIME,
        "value": made.opening_mac(CLIENT_NONCE, SERVER_NONCE, TIME),
    }
    return {
        "node_id": NODE,
        "node_key_base64": base64.b64encode(KEY.secret).decode(),
        "client_nonce": CLIENT_NONCE,
        "server_nonce": SERVER_NONCE,
        "session": SESSION,
        "time": TIME,
        "salt_hex": canonical([CLIENT_NONCE, SERVER_NONCE]).hex(),
        "info": f"bootmanager session 1 node {NODE} session {SESSION}",
        "session_key_hex": made.key.hex(),
        "signed_hex": canonical(["open", SESSION, NODE, CLIENT_NONCE, SERVER_NONCE, TIME]).hex(),
        "value": reply["value"],
        "call_body": xmlrpc.dump_call("OpenSession", [{"node_id": NODE, "nonce": CLIENT_NONCE}]).decode(),
        "reply_body": xmlrpc.dump_reply(reply).decode(),
    }


def calls() -> list[dict[str, object]]:
    made, found = session(), []
    for counter, (method, params, result) in enumerate(CALLS, 1):
        value = made.call_mac(method, ADDRESS, counter, params)
        auth = {
            "AuthMethod": METHOD,
            "node_id": NODE,
            "node_ip": ADDRESS,
            "session": SESSION,
            "counter": counter,
            "value": value,
        }
        reply = {"result": result, "time": TIME, "value": made.reply_mac(counter, value, result, TIME)}
        signed = ["call", method, NODE, ADDRESS, SESSION, counter, params]
        signed_reply = ["reply", SESSION, counter, value, result, TIME]
        assert mac(made.key, *signed) == value
        assert mac(made.key, *signed_reply) == reply["value"]
        found.append(
            {
                "method": method,
                "node_ip": ADDRESS,
                "counter": counter,
                "params_xml": [in_xml(param) for param in params],
                "signed_hex": canonical(signed).hex(),
                "value": value,
                "body": xmlrpc.dump_call(method, [auth, *params]).decode(),
                "result_xml": in_xml(result),
                "time": TIME,
                "reply_signed_hex": canonical(signed_reply).hex(),
                "reply_value": reply["value"],
                "reply_body": xmlrpc.dump_reply(reply).decode(),
            }
        )
    return found


def changes() -> dict[str, object]:
    made, generation = ChangesKey.derive(KEY, NODE), 41
    return {
        "node_id": NODE,
        "generation": generation,
        "info": "bootmanager changes 1",
        "key_hex": made.secret.hex(),
        "signed_hex": canonical(["changes", NODE, generation]).hex(),
        "path": made.path(generation),
    }


def vectors() -> str:
    """Return the file's text."""
    found = {
        "about": "Test vectors of docs/protocol.md; made by tests/unit/protocol_vectors.py.",
        "canonical": values(),
        "opening": opening(),
        "calls": calls(),
        "changes": changes(),
        "refused": [{"what": what, "xml": xml} for what, xml in REFUSED.items()],
    }
    return json.dumps(found, indent=1, ensure_ascii=True) + "\n"


def example() -> str:
    """Return the exchange that the page shows: an opening and one call, each with its bytes."""
    made, call = opening(), calls()[1]
    parts = {
        "node key": made["node_key_base64"],
        "salt": bytes.fromhex(str(made["salt_hex"])).decode(),
        "info": made["info"],
        "session key": made["session_key_hex"],
        "signed by the server": bytes.fromhex(str(made["signed_hex"])).decode(),
        "value of the opening": made["value"],
        "signed by the node": bytes.fromhex(str(call["signed_hex"])).decode(),
        "value of the call": call["value"],
        "signed by the server, of the reply": bytes.fromhex(str(call["reply_signed_hex"])).decode(),
        "value of the reply": call["reply_value"],
    }
    lines = [f"    {name}:\n        {value}" for name, value in parts.items()]
    bodies = [
        "The call's body, and the reply's:",
        *(_block(str(call[key])) for key in ("body", "reply_body")),
    ]
    return "\n".join(lines) + "\n\n" + "\n\n".join(bodies) + "\n"


def _block(body: str) -> str:
    return "```xml\n" + body + "```"


def page() -> str:
    """Return the page with the example as it is now."""
    text, count = EXAMPLE.subn(lambda found: found[1] + "\n" + example() + "\n" + found[2], PAGE.read_text())
    assert count == 1
    return text


if __name__ == "__main__":
    VECTORS.write_text(vectors())
    PAGE.write_text(page())
