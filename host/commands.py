"""What the command lines of the programs on a node have in common."""

from __future__ import annotations

import os

import click

from host.texts import error_text, shown
from wire.errors import BootError

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people or for programs.",
)


class Commands(click.Group):
    """Shows an expected failure as title, detail and hint, and missing rights, never as a traceback."""

    def invoke(self, context: click.Context) -> object:
        """Run a command; exit status 1 for an expected failure."""
        try:
            return super().invoke(context)
        except BootError as error:
            click.echo(f"{shown(error_text(error))}\n{shown(error.advice)}", err=True)
            context.exit(1)
        except PermissionError as error:
            if os.geteuid() == 0:
                raise
            click.echo(f"{error}\nThis is for root.", err=True)
            context.exit(1)
