"""Files that a server may give, and those that it may not."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.conf_files import MAXIMUM_CONTENT, ConfFile, encode
from wire.slivers import NodeService


@given(st.text(max_size=40).map(lambda text: f"/{text}") | st.text(alphabet="/.ab", max_size=20))
def test_a_place_that_is_taken_leads_nowhere_else(dest: str) -> None:
    try:
        file = ConfFile(dest, "")
    except ValueError:
        return
    assert dest == posixpath.normpath(dest) == f"/{file.place}"
    assert not {"", ".", ".."} & {*file.place.split("/")}
    file.place.encode()


@pytest.mark.parametrize(
    "dest",
    [
        "",
        "etc/motd",
        "/",
        "//etc/motd",
        "/etc//motd",
        "/etc/../etc/shadow",
        "/etc/motd/",
        "/etc/mo\0td",
        "/etc/mo\ntd",
        "/etc/\ud800",
        f"/etc/{'a' * 201}",
        f"/{'a/' * 600}b",
        "/etc/shadow",
        "/etc/passwd-",
        "/etc/bootmanager/handoff.json",
        "/etc/ssh/slivers/demo_one",
        "/etc/systemd/system/bm-other.service",
        "/etc/systemd/system/slivers-one.slice.d/x.conf",
        "/var/lib/configmanager/records.sqlite",
        "/run/x",
        "/proc/sysrq-trigger",
        "/boot/grub/grub.cfg",
        "/etc/fstab",
    ],
)
def test_a_place_that_is_not_given_away(dest: str) -> None:
    with pytest.raises(ValueError, match=r"path|given away"):
        ConfFile(dest, "")


@pytest.mark.parametrize(
    "dest", ["/etc/motd", "/etc/shadow.d/x", "/usr/bin/x y", "/etc/ü", "/opt/...", "/bootx"]
)
def test_a_place_that_is(dest: str) -> None:
    assert ConfFile(dest, "").dest == dest


@pytest.mark.parametrize("mode", ["0644", "644", "4755", "0000"])
def test_permissions_are_octal(mode: str) -> None:
    assert ConfFile("/etc/motd", "", file_permissions=mode).mode == int(mode, 8)


@pytest.mark.parametrize("mode", ["", "0o644", "u+x", "888", "64", "-644", "0644\n", "٠٦٤٤"])
def test_permissions_that_are_none(mode: str) -> None:
    with pytest.raises(ValueError, match="octal"):
        ConfFile("/etc/motd", "", file_permissions=mode)


@pytest.mark.parametrize("owner", ["", "a b", "root:root", "-1", "../x", "root\n"])
def test_owners_that_are_none(owner: str) -> None:
    for field in ("file_owner", "file_group"):
        with pytest.raises(ValueError, match="owner"):
            ConfFile("/etc/motd", "", **{field: owner})  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_a_content_comes_as_it_went(data: bytes) -> None:
    assert ConfFile("/etc/motd", encode(data)).data == data


@pytest.mark.parametrize("content", ["a", "a===", "hello world!", "é", encode(bytes(MAXIMUM_CONTENT + 1))])
def test_a_content_that_is_none(content: str) -> None:
    with pytest.raises(ValueError, match="content"):
        ConfFile("/etc/motd", content)


def test_the_largest_content() -> None:
    assert len(ConfFile("/etc/motd", encode(bytes(MAXIMUM_CONTENT))).data) == MAXIMUM_CONTENT


@pytest.mark.parametrize("command", ["preinstall_cmd", "postinstall_cmd", "error_cmd"])
def test_commands_have_bounds(command: str) -> None:
    for text in ("x" * 4097, "a\0b"):
        with pytest.raises(ValueError, match="command"):
            ConfFile("/etc/motd", "", **{command: text})  # type: ignore[arg-type]


def test_a_services_file_is_not_always_written() -> None:
    with pytest.raises(ValueError, match="always"):
        ConfFile("/etc/motd", "", service="x", always_update=True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "neither"),
        ({"overlay": "../x"}, "not a name"),
        ({"unit": "x"}, "no .Service. section"),
        ({"overlay": "x", "health": "x" * 5000}, "health"),
        ({"overlay": "x", "health_seconds": 0}, "health_seconds"),
        ({"overlay": "x", "health_seconds": 601}, "health_seconds"),
    ],
)
def test_services_that_are_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        NodeService("x", **fields)  # type: ignore[arg-type]
