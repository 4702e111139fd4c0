"""Lines on the consoles."""

from bootmanager.view import ConsoleView
from host.console import Console
from host.events import Events


def said(folder, event, **data):
    (folder / "console").touch()
    Events("test", (ConsoleView(Console([folder / "console"])),)).tell(event, **data)
    return (folder / "console").read_text().partition("] ")[2]


def test_the_plan_of_an_image(tmp_path):
    sizes = {"tree_bytes": 3 * 2**20, "cache_bytes": 2**19, "fetch_bytes": 10 * 2**20}
    assert said(tmp_path, "image.planned", image="base", **sizes) == (
        "image base, planned: 3.0 MiB from what is on the disk, 0.5 MiB from the dongle, 10.0 MiB to fetch\n"
    )


def test_hardware_that_cannot_be_used_is_named(tmp_path):
    devices = ["pci 0000:02:00.0 [8086:1533]: no driver", "usb 1-5 [0cf3:9271]: no firmware x.fw"]
    assert said(tmp_path, "hardware.lacking", devices=devices) == (
        f"hardware that cannot be used: {devices[0]}; {devices[1]}\n"
    )
