"""What is fuzzed: functions that take any bytes. An exception that gets out of one is a finding.

Seeds are written here, so that the fuzzer begins with what is well-formed; what it finds is kept in found/
and run again, with the seeds, by tests/unit/test_fuzz_targets.py.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from bootserver.sessions import Auth, NotAuthentic
from configmanager.reply import Known, read, together
from configmanager.upstream import plain_of
from host.events import Events
from host.journal import Journal
from host.refusals import PAUSE_SECONDS, Refusals
from images.cache import Cache
from images.documents import Document, Documents
from images.manifest import Blob, ImageKind, MalformedManifest, Manifest, Pack, Piece, parse, sha256
from tests.fuzz.image_targets import image_targets
from tests.fuzz.metadata_target import metadata_target
from tests.fuzz.report_target import report_target
from tests.fuzz.target import KEY, Target, scratch
from wire import nodeconf, xmlrpc
from wire.canonical import canonical
from wire.handoff import load_handoff
from wire.messages import NodeDetails
from wire.neighbours import Holdings, dump_holdings, load_holdings
from wire.nodefile import MalformedNodeConfiguration
from wire.nodenet import IpMethod
from wire.session import METHOD
from wire.slivers import Instantiation, NodeSlivers, Sliver
from wire.structure import MalformedMessage, structure, unstructure
from wire.tickets import BadTicket, Ticket, TicketKey

FOUND = Path(__file__).parent / "found"
DATA = b"content of a blob"
_TICKETS = TicketKey.derive(KEY, 7)
_TICKET = Ticket(7, 1000, 2000, Sliver("demo_one", 1, 5000, Instantiation.DELEGATED, initscript="true"))


def node_configuration(raw: bytes) -> None:
    """The file on the key medium, as hwdetect.media reads it."""
    text = raw[: nodeconf.MAXIMUM_BYTES + 1].decode(errors="replace")
    try:
        found = nodeconf.parse(text, "fuzz")
    except MalformedNodeConfiguration:
        return
    assert 0 < found.node_id < 2**31
    assert len(found.key.secret) == 32
    assert found.key.to_text() not in repr(found)
    if found.network.method is IpMethod.STATIC:
        assert 0 <= found.network.prefix_length <= 32


def request(raw: bytes) -> None:
    """A call, as the server reads it."""
    try:
        _, params = xmlrpc.load_call(raw)
    except (MalformedMessage, xmlrpc.Fault):
        return
    with suppress(ValueError):
        canonical(params)
    with suppress(NotAuthentic):
        Auth.read(params[0] if params else None)


def reply(raw: bytes) -> None:
    """An answer, as the node reads it, and what it may hold."""
    try:
        found = xmlrpc.load_reply(raw)
    except (MalformedMessage, xmlrpc.Fault):
        return
    canonical(found)
    for kind in (NodeDetails, NodeSlivers):
        with suppress(MalformedMessage):
            made = structure(found, kind)
            assert structure(unstructure(made), kind) == made


def slivers(raw: bytes) -> None:
    """The reply to GetSlivers as one text, as the node keeps it beside what it has."""
    known = {name: Known.of(Sliver(name, 1, 9)) for name in ("a_b", "c")}
    try:
        said = plain_of(raw.decode(errors="surrogateescape"))
        found = read(said, known, None)
        whole = together(found.head, found.slivers)
    except MalformedMessage:
        return
    assert isinstance(said, dict)
    # What is named stays, whatever is wrong with it; what is not named goes.
    named = {item["name"] for item in said.get("slivers", ())}
    assert {sliver.name for sliver in whole.slivers} & known.keys() == named & known.keys()
    assert json.loads(json.dumps(unstructure(whole), ensure_ascii=False).encode())


def ticket(raw: bytes) -> None:
    """A ticket, as the node reads it: as text, and what is in the text. One that is changed is none."""
    for text in (raw.decode(errors="replace"), base64.urlsafe_b64encode(raw).decode()):
        with suppress(BadTicket):
            assert _TICKETS.verify(text) == _TICKET


def manifest(raw: bytes) -> None:
    """An image's manifest."""
    with suppress(MalformedManifest):
        assert parse(raw).to_bytes() == raw
    with suppress(MalformedMessage):
        load_handoff(raw.decode(errors="replace"))


def holdings(raw: bytes) -> None:
    """What a neighbour says that it has."""
    with suppress(MalformedMessage):
        found = load_holdings(raw)
        assert load_holdings(dump_holdings(found)) == found


def journal(raw: bytes) -> None:
    """The journal on the dongle, and the refusals that it tells of."""
    path = scratch() / "journal.jsonl"
    path.write_bytes(raw)
    boot_id = scratch() / "boot_id"
    boot_id.write_text("boot1")
    found = Journal(path)
    for record in found.records():
        assert isinstance(record["kind"], str)
    assert 0.0 <= Refusals(found, boot_id=boot_id).seconds_to_wait() <= PAUSE_SECONDS


def documents(raw: bytes) -> None:
    """A document on the dongle."""
    folder = scratch() / "dongle"
    path = folder / "documents/node.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    found = Documents(Cache(folder, Events("fuzz")), KEY).read("node")
    assert found in (None, Document(3, {"a": [1, True, "x"]}))


def cache_folder(raw: bytes) -> None:
    """The cache's folder: lines are a kind of entry and its name, and then what a node does with them."""
    folder = scratch() / "cache"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "blobs").mkdir(parents=True)
    for line in raw.splitlines()[:20]:
        name = line[1:].replace(b"/", b"_").replace(b"\0", b"_")[:200]
        if name in (b"", b".", b".."):
            continue
        path = folder / "blobs" / os.fsdecode(name)
        with suppress(FileExistsError, IsADirectoryError, FileNotFoundError):
            match line[:1]:
                case b"d":
                    path.mkdir()
                case b"l":
                    path.symlink_to("../../outside")
                case b"p":
                    os.mkfifo(path)
                case _ if not path.is_fifo():
                    path.write_bytes(line[:1] * 50)
    found = Cache(folder, Events("fuzz"), budget_bytes=200)
    digest = sha256(DATA)
    assert found.get(digest) in (None, DATA)
    found.has(Blob(digest, len(DATA)))
    found.put(digest, DATA)
    assert found.get(digest) in (None, DATA)
    assert found.get(sha256(b"a" * 50)) in (None, b"a" * 50)


def _plain(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


_STATIC = (
    f'NODE_ID="7"\nNODE_KEY="{KEY.to_text()}"\nBOOT_SERVER="http://10.0.2.2:8080"\nIP_METHOD="static"\n'
    'IP_ADDRESS="10.0.2.15"\nIP_NETMASK="255.255.255.0"\nIP_GATEWAY="10.0.2.2"\nIP_DNS1="10.0.2.3"\n'
    "NET_DEVICE=52:54:00:12:34:56\n# a comment\nHOST_NAME='node7'\nDOMAIN_NAME=example.org\n"
)
_AUTH = {"AuthMethod": METHOD, "node_id": 7, "node_ip": "", "session": "s", "counter": 1, "value": "0"}
_DETAILS = {
    "node_id": 7,
    "hostname": "n",
    "boot_state": "inst",
    "run_id": "r",
    "generation": 1,
    "base_image": {"name": "base", "manifest": "b" * 64},
    "images": [{"name": "s", "manifest": "5" * 64}],
    "disks": {"system": "S", "data": "auto"},
}
_SLIVERS = {
    "timestamp": 1,
    "node_id": 7,
    "hostname": "n",
    "slivers": [
        {
            "name": "a_b",
            "slice_id": 1,
            "expires": 9,
            "instantiation": "plc-instantiated",
            "image": "s",
            "keys": [{"key_type": "ssh", "key": "ssh-ed25519 AAAA"}],
            "attributes": [{"tagname": "ports", "value": "tcp:8080:80"}],
        }
    ],
    "services": [{"name": "s", "unit": "[Service]\nExecStart=/bin/true\n", "health": "true"}],
    "conf_files": [
        {"dest": "/etc/motd", "content": "aGVsbG8K", "file_permissions": "0640", "error_cmd": None},
        {"dest": "/etc/../shadow", "content": "", "enabled": False},
    ],
}
_PIECE = Piece(Blob("b" * 64, 5), 10, (Pack(Blob("c" * 64, 6), 5),))
_MANIFEST = Manifest("base", ImageKind.TREE, (_PIECE,))
_JOURNAL = [
    {"kind": "start", "step": "unpack", "run": "r"},
    {"kind": "authentication-refused", "boot": "boot1", "uptime": 1.5},
    {"kind": "authentication-cleared"},
]


def _document() -> bytes:
    folder = scratch() / "seed"
    (folder / "documents").mkdir(parents=True, exist_ok=True)
    Documents(Cache(folder, Events("fuzz")), KEY).write("node", Document(3, {"a": [1, True, "x"]}))
    return (folder / "documents/node.json").read_bytes()


def targets() -> dict[str, Target]:
    """Return every target by its name."""
    values = [{"a": [1, -1, 2**40, 2.5, True, None, "x\r\n&<", b"\x00"]}]
    return {
        "node_configuration": Target(node_configuration, (_STATIC.encode(),)),
        "request": Target(
            request,
            (xmlrpc.dump_call("BootUpdateNode", [_AUTH, *values]), xmlrpc.dump_call("OpenSession", [])),
        ),
        "reply": Target(
            reply,
            (*map(xmlrpc.dump_reply, (_DETAILS, _SLIVERS, values)), xmlrpc.dump_fault(103, "no")),
        ),
        "slivers": Target(slivers, (_plain(_SLIVERS), _plain({**_SLIVERS, "slivers": [{"name": "c"}]}))),
        "ticket": Target(
            ticket,
            (_TICKETS.sign(_TICKET).encode(), base64.urlsafe_b64decode(_TICKETS.sign(_TICKET))),
        ),
        "manifest": Target(manifest, (_MANIFEST.to_bytes(),)),
        "holdings": Target(holdings, (dump_holdings(Holdings(*(frozenset(name) for name in "abc"))),)),
        "journal": Target(journal, (b"\n".join(map(_plain, _JOURNAL)) + b"\n",)),
        "documents": Target(documents, (_document(),)),
        "cache_folder": Target(
            cache_folder, (b"f%s\nd.%s.x\nlabc\np%s" % ((sha256(DATA).encode(),) * 3), b"a" * 5)
        ),
        **image_targets(),
        **metadata_target(),
        **report_target(),
    }


def inputs(name: str) -> list[bytes]:
    """Return a target's seeds and what was found with it."""
    found = sorted((FOUND / name).glob("*")) if (FOUND / name).is_dir() else []
    return [*targets()[name].seeds, *(path.read_bytes() for path in found)]
