"""`bootserver netboot`: what machines start from over the network."""

from __future__ import annotations

from pathlib import Path

import click

from bootserver import dnsmasq as dnsmasq_file
from bootserver import ipxe
from bootserver.cli_state import open_state
from bootserver.dnsmasq import Addresses
from bootserver.netboot import publish as publish_medium
from bootserver.output import format_option, print_json
from bootserver.policy import check_line
from host.files import write_atomic
from host.run import Runner
from wire.messages import NodeDetails


@click.group()
def netboot() -> None:
    """Machines that start over the network: PXE, iPXE, UEFI HTTP boot."""


@netboot.command()
@click.argument("iso", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--kernel-arguments",
    "arguments",
    default=NodeDetails.kernel_arguments,
    show_default=True,
    help="For machines that no node is known of; a node's are its own.",
)
@format_option
def publish(iso: Path, arguments: str, form: str) -> None:
    """Let machines start the boot medium ISO over the network, from `bootserver serve --netboot`.

    Its layers are signed. The one before stays for machines that are starting it now.
    """
    if cannot := ipxe.split(check_line(arguments))[1]:
        raise click.UsageError(f"--kernel-arguments: {cannot[0]!r} cannot stand in an iPXE script")
    key, new = publish_medium(open_state(), iso, arguments, Runner())
    if form == "json":
        print_json({"key": key, "new": new})
    else:
        click.echo(f"{key}{'' if new else ', as published before'}")


@netboot.command()
@click.option(
    "--url",
    required=True,
    metavar="http://ADDRESS:PORT",
    help="Where machines reach `bootserver serve --netboot`.",
)
@click.option("--interface", required=True, metavar="NAME", help="The interface that machines are at.")
@click.option(
    "--range",
    "addresses",
    nargs=3,
    metavar="FIRST LAST NETMASK",
    help="Give out these: there is no other DHCP.",
)
@click.option("--gateway", default="", metavar="ADDRESS", help="With --range.")
@click.option("--dns", default="", metavar="ADDRESS", help="With --range.")
@click.option("--proxy", default="", metavar="NETWORK", help="Leave addresses to the DHCP that there is.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
def dnsmasq(
    url: str,
    interface: str,
    addresses: tuple[str, str, str] | None,
    gateway: str,
    dns: str,
    proxy: str,
    output: Path | None,
) -> None:
    """Print a configuration for dnsmasq (packages dnsmasq-base, ipxe), of DHCP and TFTP for this server."""
    if bool(addresses) == bool(proxy):
        raise click.UsageError("either --range or --proxy")
    if proxy and (gateway or dns):
        raise click.UsageError("--gateway and --dns go with --range")
    network = Addresses(*addresses, gateway, dns) if addresses else proxy
    text = dnsmasq_file.configuration(url.rstrip("/"), interface, network)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_atomic(output, text)
        click.echo(f"wrote {output}")
