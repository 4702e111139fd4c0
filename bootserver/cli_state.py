"""The server's folder as commands see it."""

from __future__ import annotations

from pathlib import Path

import click

from bootserver import state


def open_state() -> state.State:
    """Open the folder that --state names; it is closed when the command ends."""
    context = click.get_current_context()
    opened = state.open_state(context.find_object(Path) or Path())
    # The last one to close the database brings its log (-wal) back into the file.
    context.call_on_close(opened.database.close)
    return opened
