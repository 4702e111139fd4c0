"""`bootserver keys`: the keys that sign images, and for how long what they signed is good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bootserver.cli_state import open_state
from bootserver.output import format_option, moment, show
from bootserver.periods import Periods
from bootserver.rootkeys import load_root_keys, make_root_keys
from bootserver.signing import ONLINE, ROLES, Signing
from bootserver.state import State
from wire.pem import BadSigningKey

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DAYS = click.IntRange(1, 3650)
_passphrase_option = click.option(
    "--root-passphrase-file",
    "passphrase_file",
    type=_FILE,
    help="Encrypts the root keys; its first line counts.",
)
_count_option = click.option(
    "--root-key-count",
    "count",
    type=click.IntRange(1, 16),
    default=3,
    show_default=True,
    help="New root keys.",
)
_threshold_option = click.option(
    "--root-threshold",
    "threshold",
    type=click.IntRange(1, 16),
    default=2,
    show_default=True,
    help="How many of the root keys must sign.",
)
_root_key_option = click.option(
    "--root-key", "root_keys", type=_FILE, multiple=True, required=True, help="A root key; as many as needed."
)


def root_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of whatever makes root keys."""
    folder = click.option(
        "--root-keys",
        "root_keys",
        type=click.Path(path_type=Path),
        help="New folder for the root keys.  [default: root-keys in FOLDER]",
    )
    return folder(_count_option(_threshold_option(_passphrase_option(command))))


def begin_signing(state: State, folder: Path, count: int, threshold: int, passphrase: bytes) -> None:
    """Make all roles, and the root keys in a folder of their own. Raises ThresholdNotMet, BadSigningKey."""
    signers = make_root_keys(folder, count, passphrase)
    with state.database.write() as session:
        Periods().store(session)
        Signing(state.metadata, session, state.master, root_keys=signers).begin(threshold)


def read_passphrase(file: Path | None) -> bytes:
    """Return the first line of the file, b"" without a file. Raises BadSigningKey where that is empty."""
    if file is None:
        return b""
    lines = file.read_bytes().splitlines()
    if not lines or not lines[0]:
        raise BadSigningKey(f"{file} holds no passphrase")
    return lines[0]


def check_root_keys(folder: Path, count: int, threshold: int) -> None:
    """Raise UsageError where the new root keys could not be written, or never sign."""
    if threshold > count:
        raise click.UsageError(f"a threshold of {threshold} with {count} root keys")
    if folder.exists():
        raise click.UsageError(f"{folder} exists; root keys are written to a new folder")


@click.group()
def keys() -> None:
    """Keys that sign images, and for how long what they signed is good."""


@keys.command("list")
@format_option
def list_keys(form: str) -> None:
    """List the roles with their keys, versions and when they expire."""
    state = open_state()
    rows = []
    with state.database.read() as session:
        signing = Signing(state.metadata, session, state.master)
        roles = signing.root().roles
        for role in ROLES:
            signed = signing.open(role).signed
            rows.append(
                {
                    "role": role,
                    "version": signed.version,
                    "threshold": roles[role].threshold,
                    "keys": [keyid[:12] for keyid in roles[role].keyids],
                    "expires": signed.expires.timestamp(),
                }
            )
    for row in rows if form == "table" else ():
        row["expires"] = moment(row["expires"])
        row["keys"] = " ".join(row["keys"])
    show(rows, form, ("role", "version", "threshold", "keys", "expires"))


@keys.command()
@click.argument("role", type=click.Choice(ROLES))
@_root_key_option
@click.option("--new-keys", type=click.Path(path_type=Path), help="With root: new folder for its new keys.")
@_count_option
@_threshold_option
@_passphrase_option
def rotate(
    role: str,
    root_keys: tuple[Path, ...],
    new_keys: Path | None,
    count: int,
    threshold: int,
    passphrase_file: Path | None,
) -> None:
    """Replace the key of ROLE, or with root all of root's keys. Nodes follow by themselves.

    Needs as many of the present root keys as root's threshold says. New root keys are written to a folder
    of their own, to be taken away like the first ones.
    """
    if (role in ONLINE) == (new_keys is not None):
        raise click.UsageError("--new-keys goes with root, and root needs it")
    passphrase = read_passphrase(passphrase_file)
    state, present = open_state(), load_root_keys(root_keys, passphrase)
    if new_keys is None:
        with state.database.write() as session:
            Signing(state.metadata, session, state.master).prepare(role)
        with state.database.write() as session:
            Signing(state.metadata, session, state.master, root_keys=present).rotate(role)
    else:
        check_root_keys(new_keys, count, threshold)
        fresh = make_root_keys(new_keys, count, passphrase)
        with state.database.write() as session:
            Signing(state.metadata, session, state.master, root_keys=present).rotate_root(fresh, threshold)
    click.echo(f"{role} has a new key" if new_keys is None else f"root's keys are those in {new_keys} now")


@keys.command("renew")
@_root_key_option
@_passphrase_option
def renew_root(root_keys: tuple[Path, ...], passphrase_file: Path | None) -> None:
    """Sign root again with the same keys, before it expires. The other roles the server renews itself."""
    state = open_state()
    present = load_root_keys(root_keys, read_passphrase(passphrase_file))
    with state.database.write() as session:
        Signing(state.metadata, session, state.master, root_keys=present).renew_root()
    click.echo("root is good for another period")


@keys.command()
@click.option("--root", type=_DAYS, help="Days that root is good for, from when it is next signed.")
@click.option("--targets", type=_DAYS, help="Days for the list of images.")
@click.option("--snapshot", type=_DAYS, help="Days for what keeps metadata together.")
@click.option("--timestamp", type=_DAYS, help="Days for what says which metadata are the newest.")
@click.option(
    "--offline", type=click.IntRange(0, 3650), help="Days that nodes may install without the server."
)
@format_option
def expiry(form: str, **days: int | None) -> None:
    """Show or change for how many days metadata are good; the online roles are signed again at once."""
    state = open_state()
    changes = {name: value for name, value in days.items() if value is not None}
    with state.database.write() as session:
        periods = replace(Periods.of(session), **changes)
        if changes:
            periods.store(session)
            session.flush()
            Signing(state.metadata, session, state.master).sign_again(ONLINE)
    row: dict[str, object] = dict(vars(periods))
    if form == "table":
        row = {name: f"{days} days" for name, days in row.items()}
    show([row], form, tuple(row))
