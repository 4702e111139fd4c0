"""`bootserver media`: key media, and boot media for this deployment."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click

from bootserver import nodes
from bootserver.bootmedium import write_boot_medium
from bootserver.cli_state import open_state
from bootserver.media import EnrolmentFile, KeyFile, NoServerUrl, write_dongle_mark, write_key_medium
from bootserver.medium_image import publish_medium
from bootserver.metadata import trusted_root
from bootserver.output import format_option, moment, print_json
from bootserver.state import State
from host.run import Runner
from wire.enrolment import Token
from wire.nodenet import NETWORK_KEYS
from wire.session import NodeKey

_KEYS = (*NETWORK_KEYS, "PROXY_SERVER")


def _pairs(_context: click.Context, _parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key not in _KEYS or not equals or not value or '"' in value or not value.isprintable():
            raise click.BadParameter(f"KEY=VALUE wanted, with KEY one of {', '.join(_KEYS)}")
        found[key] = value
    return found


set_option = click.option(
    "--set",
    "others",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_pairs,
    help="Another key of the node's network, such as VLAN_ID or BOND_DEVICES; once for each.",
)


@click.group()
def media() -> None:
    """What is plugged into nodes."""


def node_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of what a key medium says beside the identity; `_key_file` takes them."""
    for option in (
        click.option("--proxy", default="", help="The URL of an HTTP proxy."),
        click.option(
            "--device", default="", help="The interface's MAC address or name, if there are several."
        ),
        click.option("--dns", multiple=True, metavar="ADDRESS", help="With --static; at most twice."),
        click.option("--gateway", default="", metavar="ADDRESS", help="With --static."),
        click.option("--static", default="", metavar="ADDRESS/LENGTH", help="Instead of DHCP."),
        click.option("--server", default="", help="The URL that the node reaches this server at."),
        set_option,
    ):
        command = option(command)
    return command


@media.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@node_options
def key(name: str, file: Path, **options: Any) -> None:
    """Write the key medium of node NAME as a disk image FILE (vfat, label BMKEY, mode 0600).

    It holds the node's secret, and root.json, by which the node knows whose signatures count. Put it on a
    stick that can be write-protected: dd if=FILE of=/dev/...
    """
    state = open_state()
    content = _key_file(state, name, **options)
    write_key_medium(file, content, trusted_root(state.metadata), Runner())
    click.echo(f"wrote {file}")


@media.command()
@click.argument("iso", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--node", default="", metavar="NAME", help="Whose identity it gets; then FILE is secret.")
@node_options
def make(iso: Path, file: Path, node: str, **options: Any) -> None:
    """Write the boot medium ISO once more as FILE, with this deployment's root.json in it.

    Nodes that start from it trust this deployment's signatures only, whatever a key medium says. With --node
    it is that node's own stick (not CD) and needs no key medium: the identity is in a partition of it, and
    FILE has mode 0600. The other options are those of `media key`.
    """
    if not node and any(options.values()):
        raise click.UsageError("without --node there is no identity that these options could be for")
    state = open_state()
    identity = _key_file(state, node, **options) if node else None
    write_boot_medium(iso, file, trusted_root(state.metadata), Runner(), identity)
    click.echo(f"wrote {file}")


@media.command()
@click.argument("iso", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@format_option
def publish(iso: Path, form: str) -> None:
    """Let nodes start the boot medium ISO in place of their own, if that is older.

    Each does so once it has checked in, if it has a dongle: from there, when all is verified. What is plugged
    in stays as it is. A medium that was started and did not report is not started again.
    """
    manifest, medium, new = publish_medium(open_state(), iso, Runner())
    if form == "json":
        print_json({"manifest": manifest.digest, "bytes": manifest.size, "made": medium.made, "new": new})
    else:
        size, again = f"{manifest.size / 2**20:.1f} MiB", "" if new else ", as published before"
        click.echo(f"{manifest.digest} {size}, made {moment(medium.made)}{again}")


@media.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--server", default="", help="The URL that nodes reach this server at.")
@click.option("--device", default="", help="The interface's MAC address or name, if there are several.")
@click.option("--proxy", default="", help="The URL of an HTTP proxy.")
@set_option
@click.option(
    "--token-file",
    type=click.File("r"),
    metavar="FILE|-",
    help="What `bootserver token new` printed: nodes are admitted by it.",
)
def enrol(
    file: Path,
    server: str,
    device: str,
    proxy: str,
    others: dict[str, str],
    token_file: TextIO | None,
) -> None:
    """Write a medium for nodes that have no identity yet, as a disk image FILE; one for many nodes.

    A node that starts with it asks to be admitted: by the token, or by `bootserver node admit`.
    """
    state = open_state()
    url = (server or state.setting("server")).rstrip("/")
    if not url:
        raise NoServerUrl("for an enrolment medium")
    token = Token.from_text(token_file.read()).to_text() if token_file else ""
    content = EnrolmentFile(url, device, proxy, state.tls.authority_pem(url), token, others)
    write_key_medium(file, content, trusted_root(state.metadata), Runner())
    click.echo(f"wrote {file}")


@media.command()
@click.argument("file", type=click.Path(path_type=Path))
def dongle(file: Path) -> None:
    """Write FILE, a disk image that marks a stick: of that a node makes its cache dongle.

    What the stick holds is lost. Put it there with dd or any program that writes disk images onto sticks.
    """
    write_dongle_mark(file)
    click.echo(f"wrote {file}")


def _key_file(
    state: State,
    name: str,
    *,
    server: str,
    static: str,
    gateway: str,
    dns: tuple[str, ...],
    device: str,
    proxy: str,
    others: dict[str, str],
) -> KeyFile:
    """Return what the key medium of a node says. Raises NoServerUrl, NameNotCovered, NoSuchNode."""
    _check_static(static, gateway, dns)
    url = (server or state.setting("server")).rstrip("/")
    if not url:
        raise NoServerUrl(name)
    authority = state.tls.authority_pem(url)
    return KeyFile(*_identity(state, name), url, static, gateway, dns, device, proxy, authority, others)


def _identity(state: State, name: str) -> tuple[int, str, NodeKey]:
    with state.database.read() as session:
        node = nodes.find(session, name)
        return node.id, node.name, nodes.key_of(state.master, node)


def _check_static(static: str, gateway: str, dns: tuple[str, ...]) -> None:
    if not static and (gateway or dns):
        raise click.UsageError("--gateway and --dns need --static")
    if len(dns) > 2:
        raise click.UsageError("--dns at most twice")
    try:
        if static:
            ipaddress.IPv4Interface(static)
        for address in (gateway, *dns):
            if address:
                ipaddress.IPv4Address(address)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if static and "/" not in static:
        raise click.UsageError("--static needs ADDRESS/LENGTH")
    if static and not gateway:
        raise click.UsageError("--static needs --gateway")
