"""The command line: `bootserver init`, `bootserver serve`, and what an operator changes."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import IO, Any

import click

from bootserver import (
    cli_classic,
    cli_console,
    cli_delegate,
    cli_disk_image,
    cli_enrol,
    cli_file,
    cli_image,
    cli_media,
    cli_netboot,
    cli_node,
    cli_power,
    cli_reinstall,
    cli_report,
    cli_slice,
    cli_tls,
)
from bootserver.cli_keys import begin_signing, check_root_keys, keys, read_passphrase, root_options
from bootserver.cli_state import open_state
from bootserver.following import NodeNeverCameBack
from bootserver.output import printable
from bootserver.serve import Address, serve
from bootserver.state import check_free, initialise
from bootserver.tls import covered, host_of
from wire.errors import BootError, InternalError

log = logging.getLogger(__name__)
DEFAULT_FOLDER = "/var/lib/bootserver"


class Failure(click.ClickException):
    """An expected failure as it is shown: title, detail and hint, exit status 1."""

    def __init__(self, error: BootError) -> None:
        super().__init__(str(error))
        self._error = error

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to standard error."""
        click.echo(f"{self._error.title}: {printable(self._error.detail)} [{self._error.code}]", err=True)
        click.echo(f"  {self._error.advice}", err=True)


class NeverCameBack(Failure):
    """The same with an exit status of its own, for programs that act on it."""

    exit_code = 3


class Commands(click.Group):
    """The top of the command line, where every error ends."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error becomes a message and a status."""
        try:
            return super().invoke(ctx)
        except NodeNeverCameBack as error:
            raise NeverCameBack(error) from None
        except BootError as error:
            raise Failure(error) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # A programming error: caught here, once.
            log.debug("internal error", exc_info=True)
            raise Failure(InternalError(f"{type(error).__name__}: {error} (--verbose shows where)")) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state",
    "folder",
    type=click.Path(path_type=Path),
    envvar="BOOTSERVER_STATE",
    default=DEFAULT_FOLDER,
    show_default=True,
    show_envvar=True,
    help="The server's folder.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log more, to standard error.")
@click.pass_context
def main(ctx: click.Context, folder: Path, verbose: bool) -> None:
    """Keep the intents, configurations and images of nodes, and answer them.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 a node that was followed never came back.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Libraries at DEBUG would put statements and parameters, and so sealed keys, into the log.
    logging.getLogger("sqlalchemy").setLevel(logging.WARNING)
    ctx.obj = folder


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "--server",
    default="",
    metavar="https://HOST:PORT",
    help="The URL that nodes reach this server at, for key media. With http:// there will be no TLS.",
)
@cli_tls.name_option
@click.pass_obj
@root_options
def init(
    default: Path,
    folder: Path | None,
    server: str,
    names: tuple[str, ...],
    root_keys: Path | None,
    count: int,
    threshold: int,
    passphrase_file: Path | None,
) -> None:
    """Make a server's FOLDER: database, master key, image store, TLS authority, signing roles.

    The private keys of the root role are written to a folder of their own. Take it away: they are needed
    to change keys, and are no business of this machine.
    """
    chosen = folder or default
    wanted = covered(list(filter(None, (host_of(server), *names))))
    root_folder = root_keys or chosen / "root-keys"
    passphrase = read_passphrase(passphrase_file)
    # A folder that is a server's has root keys too, which is not what is wrong with it.
    check_free(chosen)
    check_root_keys(root_folder, count, threshold)
    state = initialise(chosen, {"server": server.rstrip("/")} if server else {})
    begin_signing(state, root_folder, count, threshold, passphrase)
    state.database.close()
    if server.startswith("http://") and not names:
        click.echo(f"made {chosen}; nodes reach it by plain HTTP, as --server says")
    else:
        state.tls.make(wanted)
        click.echo(f"made {chosen}; its certificate is for {', '.join(state.tls.described().names)}")
    click.echo(
        f"Take {root_folder} away from this machine: any {threshold} of its {count} keys speak for root."
    )


@main.command("serve")
@click.option("--listen", default="0.0.0.0:8080", show_default=True, help="Where nodes are answered.")
@click.option(
    "--operator", default="127.0.0.1:8081", show_default=True, help="Where the operator's pages are."
)
@click.option(
    "--netboot", metavar="HOST:PORT", help="Where machines start from over the network; plain HTTP."
)
@click.option("--plain", is_flag=True, help="No TLS for nodes, although there is a certificate.")
def serve_command(listen: str, operator: str, netboot: str | None, plain: bool) -> None:
    """Answer nodes, by TLS if there is a certificate, and show the fleet, until told to end."""
    try:
        addresses = Address.parse(listen), Address.parse(operator)
        starting = Address.parse(netboot) if netboot else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    logging.getLogger().setLevel(min(logging.INFO, logging.getLogger().level))
    serve(open_state(), *addresses, plain=plain, netboot=starting)


main.add_command(cli_node.node)
cli_node.node.add_command(cli_classic.classic)
cli_node.node.add_command(cli_disk_image.disk_image)
cli_node.node.add_command(cli_report.list_reports)
cli_node.node.add_command(cli_report.report)
cli_node.node.add_command(cli_power.power_group)
cli_node.node.add_command(cli_reinstall.reinstall)
cli_node.node.add_command(cli_reinstall.follow)
main.add_command(cli_enrol.token)
main.add_command(cli_image.image)
main.add_command(cli_slice.slice_group)
main.add_command(cli_slice.service)
main.add_command(cli_file.conf_file)
main.add_command(cli_delegate.delegate)
main.add_command(keys)
main.add_command(cli_media.media)
main.add_command(cli_netboot.netboot)
main.add_command(cli_tls.tls)
main.add_command(cli_console.console_password)
