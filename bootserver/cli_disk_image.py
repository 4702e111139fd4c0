"""`bootserver node disk-image`: let a node run another system, and be itself again."""

from __future__ import annotations

from typing import Any

import click

from bootserver import nodes, policy
from bootserver.catalogue import current_image
from bootserver.cli_state import open_state
from bootserver.output import format_option, print_json
from images.disk_write import NotADisk
from images.manifest import ImageKind, parse


@click.command("disk-image")
@click.argument("name")
@click.argument("image", default="")
@click.option("--disk", metavar="SERIAL", default="", help="Serial number or WWN; else its system disk.")
@click.option("--none", "none", is_flag=True, help="Take it back: the node is itself again.")
@format_option
def disk_image(name: str, image: str, disk: str, none: bool, form: str) -> None:
    """Let node NAME run another system: the published IMAGE of a whole disk, written over its own.

    A node that is up reboots for it by itself. Said again, the image is written again.
    """
    if none is bool(image) or (none and disk):
        raise click.UsageError("give either an IMAGE, with --disk if need be, or --none")
    state = open_state()
    with state.database.write() as session:
        found = nodes.find(session, name)
        if none:
            text = _taken_back(found.name, again=nodes.drop_disk_image(found))
        else:
            disk = policy.check_line(disk)
            manifest = parse(state.blobs.get(current_image(session, image).manifest))
            if manifest.kind is not ImageKind.DISK:
                raise NotADisk(image)
            nodes.order_disk_image(found, image, disk)
            on = f"the disk {disk}" if disk else "its system disk"
            text = f"{found.name}: its next boot writes {image} over all that is on {on}"
        shown: dict[str, Any] = {
            "name": found.name,
            "boot_state": found.boot_state,
            "disk_image": found.disk_image,
            "disk_named": found.disk_named,
            "generation": found.generation,
        }
    if form == "json":
        print_json(shown)
    else:
        click.echo(text)


def _taken_back(name: str, *, again: bool) -> str:
    if again:
        return f"{name}: its next boot installs it again (rins); what the other system keeps there is lost"
    return f"{name} stays what it is: the image was not written yet"
