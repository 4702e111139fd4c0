"""`bootserver tls`: the deployment's authority and the server's certificate."""

from __future__ import annotations

import click

from bootserver.cli_state import open_state
from bootserver.output import format_option, moment, show_one
from bootserver.tls import Tls
from wire import tls as certificates

name_option = click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME|ADDRESS",
    help="What nodes may call this server; once for each. Loopback is always one.",
)


@click.group("tls")
def tls() -> None:
    """The certificate that nodes know this server by."""


@tls.command()
@name_option
def renew(names: tuple[str, ...]) -> None:
    """Issue another certificate, with a new key; a server that runs uses it within a minute."""
    found = open_state().tls
    found.renew(names)
    _tell(found)


@tls.command()
@name_option
@click.confirmation_option(prompt="Nodes trust the present authority. Write all key media again?")
def new(names: tuple[str, ...]) -> None:
    """Make another authority: every key medium has to be written again before nodes trust this server."""
    found = open_state().tls
    found.make(names or (found.described().names if found.present else ()))
    _tell(found)


@tls.command("show")
@format_option
def show_tls(form: str) -> None:
    """Show what the server's certificate is for, until when, and the fingerprint of the authority."""
    found = open_state().tls
    server = found.described()
    authority = certificates.describe(found.authority.read_bytes())
    row: dict[str, object] = {"names": list(server.names), "authority_sha256": authority.fingerprint}
    for field, when in (("valid_until", server.not_after), ("authority_valid_until", authority.not_after)):
        row[field] = moment(when) if form == "table" else when
    show_one(row, form)


def _tell(found: Tls) -> None:
    server = found.described()
    click.echo(f"certificate for {', '.join(server.names)}, until {moment(server.not_after)}")
