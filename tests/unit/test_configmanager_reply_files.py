"""Files of the node in a reply: the fault of one is its own, and what it had goes on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configmanager.reply import read
from wire.conf_files import ConfFile, encode
from wire.slivers import NodeSlivers

MOTD, HOSTS = ConfFile("/etc/motd", encode(b"hello\n")), ConfFile("/etc/hosts.extra", encode(b""))
BEFORE = NodeSlivers(1, 1, "node1", conf_files=(MOTD, HOSTS))
PLAIN = {"dest": "/etc/motd", "content": encode(b"hello\n")}


def said(conf_files: object, before: NodeSlivers | None = BEFORE) -> tuple[dict[str, bytes], list[str]]:
    """What counts after a reply, and what of it does not."""
    reply = {"timestamp": 2, "node_id": 1, "hostname": "node1", "slivers": [], "conf_files": conf_files}
    reading = read(reply, {}, before)
    return {file.dest: file.data for file in reading.head.conf_files}, list(reading.refused)


def test_what_is_said_counts() -> None:
    changed = {**PLAIN, "content": encode(b"bye\n"), "error_cmd": None, "conf_file_id": 7}
    assert said([changed]) == ({"/etc/motd": b"bye\n"}, [])
    assert said([]) == ({}, [])


def test_one_that_is_not_enabled_is_not_there() -> None:
    assert said([{**PLAIN, "enabled": False}]) == ({}, [])


@pytest.mark.parametrize(
    "fault",
    [
        {"file_permissions": "rw"},
        {"file_permissions": 420},
        {"content": 1},
        {"content": "x"},
        {"enabled": "yes"},
        {"postinstall_cmd": ["true"]},
        {"source": "\x1b[2J"},
    ],
)
def test_a_file_with_a_fault_keeps_what_it_had(fault: dict[str, Any]) -> None:
    good = {"dest": "/etc/new", "content": ""}
    assert said([{**PLAIN, **fault}, good]) == (
        {"/etc/new": b"", "/etc/motd": b"hello\n"},
        ["conf_file /etc/motd"],
    )
    assert said([{**PLAIN, **fault}], None) == ({}, ["conf_file /etc/motd"])


def test_one_without_content_is_refused() -> None:
    counts, refused = said([{"dest": "/etc/motd", "source": "PlanetLabConf/motd"}], None)
    assert (counts, refused) == ({}, ["conf_file /etc/motd"])


def test_of_two_for_one_place_neither_counts() -> None:
    assert said([PLAIN, {**PLAIN, "content": ""}, PLAIN])[0] == {"/etc/motd": b"hello\n"}


@pytest.mark.parametrize("mangled", [None, 7, "x", [], {}, {"dest": 7}])
def test_where_a_name_was_mangled_nothing_is_taken_away(mangled: object) -> None:
    assert said([mangled, {"dest": "/etc/new", "content": ""}]) == (
        {"/etc/new": b"", "/etc/motd": b"hello\n", "/etc/hosts.extra": b""},
        ["conf_file number 1"],
    )


@pytest.mark.parametrize("mangled", [7, "x", {}])
def test_no_list_at_all_changes_nothing(mangled: object) -> None:
    assert said(mangled) == ({"/etc/motd": b"hello\n", "/etc/hosts.extra": b""}, ["conf_files"])


def test_a_hostile_path_is_shown_harmlessly() -> None:
    _, refused = said([{"dest": "/etc/\x1b[2J" + "x" * 1000, "content": ""}])
    assert refused[0].isprintable()
    assert len(refused[0]) < 300


@given(
    st.lists(
        st.none()
        | st.dictionaries(
            st.sampled_from(["dest", "content", "enabled", "file_permissions"]),
            st.none() | st.booleans() | st.text(max_size=5) | st.just("/etc/motd"),
        )
    )
)
def test_whatever_is_said_the_rest_of_the_reply_counts(conf_files: list[object]) -> None:
    said(conf_files)
