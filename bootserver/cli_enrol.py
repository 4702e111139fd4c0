"""`bootserver node waiting`, `node admit` and `token`: nodes that have no identity yet."""

from __future__ import annotations

import time

import click

from bootserver import enrolment
from bootserver.cli_node import node
from bootserver.cli_state import open_state
from bootserver.output import ago, format_option, moment, show
from bootserver.tables import EnrolmentToken
from wire.messages import TargetState

_STATES = click.Choice([str(state) for state in TargetState])


@node.command()
@format_option
def waiting(form: str) -> None:
    """List nodes that ask to be admitted; compare the fingerprint with the one on the node's console."""
    with open_state().database.read() as session:
        rows = [enrolment.waiting_row(row) for row in enrolment.who_waits(session)]
    if form == "table":
        rows = [{**row, "first": ago(row["first"]), "seen": ago(row["seen"])} for row in rows]
    show(rows, form, ("fingerprint", "mac", "address", "first", "seen", "token"))


@node.command()
@click.argument("fingerprint")
@click.argument("name")
@click.option("--state", type=_STATES, default="new", show_default=True, help="What is wanted of it.")
@click.option("--known", is_flag=True, help="NAME is registered already: it gets a new key.")
def admit(fingerprint: str, name: str, state: str, known: bool) -> None:
    """Admit the node that shows FINGERPRINT on its console, as NAME."""
    opened = open_state()
    with opened.database.write() as session:
        found = enrolment.admit(session, opened, fingerprint, name, TargetState(state), known=known)
        name, number = found.name, found.id
    click.echo(f"admitted as {name} (id {number}); the node fetches its identity for this run")
    click.echo(f"  For its next boot write its key medium: bootserver media key {name} FILE")


@click.group()
def token() -> None:
    """One-time permissions: nodes that hold one are admitted without a person."""


@token.command()
@click.option("--site", required=True, help="The end of the nodes' names, such as berlin.example.org.")
@click.option("--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many nodes.")
@click.option("--days", type=click.FloatRange(0, 366, min_open=True), default=7.0, show_default=True)
@click.option("--state", type=_STATES, default="new", show_default=True, help="What is wanted of them.")
def new(site: str, count: int, days: float, state: str) -> None:
    """Print a new token, once: only a key derived from it is kept, sealed. It is a secret."""
    opened = open_state()
    with opened.database.write() as session:
        made = enrolment.new_token(session, opened, site, count, days, TargetState(state))
    click.echo(made.to_text())


@token.command("list")
@format_option
def list_tokens(form: str) -> None:
    """List tokens by their names, the part before the dot."""
    fields = ("name", "site", "state", "remaining", "expires", "usable")
    with open_state().database.read() as session:
        rows = [
            {
                **{field: getattr(row, field) for field in fields[:-1]},
                "usable": row.remaining > 0 and row.expires > time.time(),
            }
            for row in session.query(EnrolmentToken).order_by(EnrolmentToken.created)
        ]
    if form == "table":
        rows = [{**row, "expires": moment(row["expires"])} for row in rows]
    show(rows, form, fields)


@token.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Forget a token: from now on it admits nobody. Nodes that it admitted stay."""
    with open_state().database.write() as session:
        session.delete(enrolment.find_token(session, name))
    click.echo(f"revoked {name}")
