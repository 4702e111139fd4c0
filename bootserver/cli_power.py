"""`bootserver node power`: what controls a node's power, and switching it."""

from __future__ import annotations

from typing import IO

import click

from bootserver import nodes, power
from bootserver.bmc import BadPowerSetting, Bmc, BmcCertificateChanged, Switch, checked_text
from bootserver.cli_state import open_state
from bootserver.events import tell
from bootserver.ipmi import Ipmi
from bootserver.output import confirm, yes_option
from bootserver.redfish import Redfish, checked_address, fingerprint_at
from bootserver.state import State
from host.run import Runner

_MOST_CHARACTERS = 1024


@click.group("power")
@click.argument("name")
@click.pass_context
def power_group(ctx: click.Context, name: str) -> None:
    """The power of node NAME, by its management controller (BMC)."""
    ctx.obj = name


@power_group.command("set")
@click.option(
    "--redfish", metavar="https://HOST[:PORT]", help="With its path, where it has several machines."
)
@click.option("--ipmi", metavar="HOST[:PORT]", help="IPMI 2.0, which is weak: see docs/power.md.")
@click.option("--user", required=True, help="Who may switch the power there.")
@click.option(
    "--password-file", type=click.File("r"), help="Its first line; - is stdin. Else it is asked for."
)
@click.option("--fingerprint", metavar="SHA256", help="Of the certificate there, instead of confirming it.")
@click.pass_obj
def set_power(
    name: str,
    redfish: str | None,
    ipmi: str | None,
    user: str,
    password_file: IO[str] | None,
    fingerprint: str | None,
) -> None:
    """Say what controls the node's power; it is asked once, and nothing is kept that it refuses."""
    if (redfish is None) == (ipmi is None) or (fingerprint is not None and redfish is None):
        raise click.UsageError("give either --redfish, with --fingerprint if you know it, or --ipmi")
    state = open_state()
    with state.database.read() as session:
        name = nodes.find(session, name).name
    user = checked_text(user, "user")
    found: Redfish | Ipmi
    if redfish is not None:
        address = checked_address(redfish)
        seen = _confirmed(address, fingerprint)
        found = Redfish(address, user, _password(password_file), seen).found()
    else:
        found = Ipmi(ipmi or "", user, _password(password_file), Runner())
    shown = _shown(found)
    with state.database.write() as session:
        power.keep(session, state.master, nodes.find(session, name), found)
    click.echo(f"{name}: {found.address}; its power is {shown}")


def _confirmed(address: str, expected: str | None) -> str:
    """Return the fingerprint of the certificate there. Raises BmcUnreachable, BmcCertificateChanged."""
    seen = fingerprint_at(address)
    if expected is None:
        click.echo(f"{address} shows a certificate with the SHA-256 fingerprint\n  {_spelt(seen)}")
        confirm("Is that the one of this controller?", yes=False)
    elif seen != expected.replace(":", "").lower():
        raise BmcCertificateChanged(f"{address}: {_spelt(seen)}")
    return seen


def _spelt(fingerprint: str) -> str:
    return ":".join(fingerprint[place : place + 2] for place in range(0, len(fingerprint), 2))


def _password(file: IO[str] | None) -> str:
    if file is None:
        return checked_text(str(click.prompt("Password", hide_input=True)), "password")
    try:
        return checked_text(file.readline(_MOST_CHARACTERS).rstrip("\r\n"), "password")
    except (OSError, UnicodeDecodeError) as error:
        raise BadPowerSetting(f"{file.name}: {type(error).__name__}") from None


@power_group.command("unset")
@click.pass_obj
def unset(name: str) -> None:
    """Forget what controls the node's power, with the password."""
    with open_state().database.write() as session:
        power.forget(session, nodes.find(session, name))
    click.echo(f"{name}: nothing controls its power now")


@power_group.command()
@click.pass_obj
def status(name: str) -> None:
    """Say whether the node has power."""
    click.echo(f"{name}: {_shown(_bmc(open_state(), name))}")


@power_group.command()
@click.pass_obj
def on(name: str) -> None:
    """Give the node power."""
    _switch(name, Switch.ON)


@power_group.command()
@yes_option
@click.pass_obj
def off(name: str, yes: bool) -> None:
    """Cut the node's power: nothing on it ends well."""
    confirm(f"Cut the power of {name} now?", yes)
    _switch(name, Switch.OFF)


@power_group.command()
@yes_option
@click.pass_obj
def cycle(name: str, yes: bool) -> None:
    """Cut the node's power and give it back: nothing on it ends well."""
    confirm(f"Cut the power of {name} now?", yes)
    _switch(name, Switch.CYCLE)


def _switch(name: str, how: Switch) -> None:
    state = open_state()
    _bmc(state, name).switch(how)
    with state.database.write() as session:
        tell(session, nodes.find(session, name), "power.switched", how=str(how))
    click.echo(f"{name}: power {how} was ordered")


def _bmc(state: State, name: str) -> Bmc:
    with state.database.read() as session:
        return power.bmc_of(state.master, nodes.find(session, name))


def _shown(bmc: Bmc) -> str:
    return "on" if bmc.is_on() else "off"
