"""What a node takes for a configuration of slivers, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wire.slivers import Instantiation, NodeSlivers, PortForward
from wire.structure import MalformedMessage, structure, unstructure

# The reply of an original server, as the field recorded it; kept here so that the test stands alone.
RECORDED: dict[str, Any] = {
    "timestamp": 1795223632,
    "node_id": 1,
    "hostname": "node1.example.org",
    "interfaces": [{"interface_id": 1, "ip": "192.0.2.10"}],
    "conf_files": [],
    "slivers": [
        {
            "name": "princeton_codeen",
            "slice_id": 1,
            "instantiation": "plc-instantiated",
            "expires": 1796433076,
            "keys": [{"key_type": "ssh", "key": "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEAtest tech@example.org"}],
            "attributes": [
                {"tagname": "hrn", "value": "planetlab.test.princeton.codeen"},
                {"tagname": "initscript_code", "value": "#!/bin/sh\necho hi\n"},
            ],
            "GetSliceFamily": "lxc-f31-x86_64",
        }
    ],
}


def reply(**changes: Any) -> dict[str, Any]:
    plain = json.loads(json.dumps(RECORDED))
    plain["slivers"][0].update(changes)
    return plain


def test_a_recorded_reply_is_read() -> None:
    read = structure(RECORDED, NodeSlivers)
    sliver = read.slivers[0]
    assert (read.timestamp, read.node_id, sliver.name) == (1795223632, 1, "princeton_codeen")
    assert sliver.instantiation is Instantiation.PLC
    assert sliver.script == "#!/bin/sh\necho hi\n"
    assert structure(unstructure(read), NodeSlivers) == read


def test_ports_are_read_from_the_attribute() -> None:
    read = structure(reply(attributes=[{"tagname": "ports", "value": "tcp:8080:80, udp:53:53"}]), NodeSlivers)
    assert read.slivers[0].ports == (PortForward("tcp", 8080, 80), PortForward("udp", 53, 53))


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../etc", "a\0b", "A", "a b", "-a", "a-", "a.b", "é", "a" * 33, "a\n", "\u0430bc"],
)
def test_names_that_could_leave_their_folder_are_refused(name: str) -> None:
    with pytest.raises(MalformedMessage):
        structure(reply(name=name), NodeSlivers)


@pytest.mark.parametrize(
    "changes",
    [
        {"slice_id": "1"},
        {"expires": None},
        {"instantiation": "other"},
        {"image": "../../etc/shadow"},
        {"image": "a..b"},
        {"attributes": [{"tagname": "ports", "value": "tcp:0:80"}]},
        {"attributes": [{"tagname": "ports", "value": "tcp:80:65536"}]},
        {"attributes": [{"tagname": "ports", "value": "sctp:80:80"}]},
        {"attributes": [{"tagname": "ports", "value": "tcp:22:22"}]},
        {"attributes": [{"tagname": "ports", "value": "tcp:80:80\nBind=/"}]},
        {"attributes": [{"tagname": "a\nb", "value": ""}]},
        {"keys": [{"key_type": "ssh", "key": "ssh-rsa A\nssh-rsa B"}]},
        {"initscript": "x" * 300_000},
        {"initscript": "a\0b"},
    ],
)
def test_bad_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        structure(reply(**changes), NodeSlivers)


def test_two_slivers_cannot_share_name_or_port() -> None:
    plain = reply()
    plain["slivers"].append(plain["slivers"][0])
    with pytest.raises(MalformedMessage, match="princeton-codeen"):
        structure(plain, NodeSlivers)
    plain["slivers"][1] = {**plain["slivers"][0], "name": "princeton-codeen"}
    with pytest.raises(MalformedMessage, match="princeton-codeen"):
        structure(plain, NodeSlivers)
    plain = reply(attributes=[{"tagname": "ports", "value": "tcp:80:80"}])
    plain["slivers"].append({**plain["slivers"][0], "name": "other"})
    with pytest.raises(MalformedMessage, match="tcp:80"):
        structure(plain, NodeSlivers)


def test_a_service_needs_a_unit_and_an_image_a_hash() -> None:
    with pytest.raises(MalformedMessage, match="Service"):
        structure({**RECORDED, "services": [{"name": "clock", "unit": "[Unit]\n"}]}, NodeSlivers)
    with pytest.raises(MalformedMessage, match="SHA-256"):
        structure({**RECORDED, "images": [{"name": "sliver", "manifest": "abc"}]}, NodeSlivers)
