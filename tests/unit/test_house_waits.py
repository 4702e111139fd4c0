"""Every wait of the boot and of the node says what for and how long, or there is a reason why it need not."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("host", "hwdetect", "images", "steps", "bootmanager", "configmanager")
WAITS = {"sleep", "wait", "wait_for", "poll", "select", "survey", "lead_out", "wait_healthy", "alone"}
# What stands behind what the console shows already, or is no wait of somebody's.
REASONS = {
    "a part of what a caller waits for, who has said so": {
        "configmanager/backends/health.py:wait_healthy",
        "host/halt.py:pause",
        "host/network.py:wait",
        "host/report.py:_wait",
        "host/report.py:flush",
        "hwdetect/udev.py:wait_for_block_device",
        "hwdetect/udev.py:wait_for_usb_storage",
    },
    "seconds at most, and who gives up says for what": {
        "bootmanager/cli.py:_drive",
        "bootmanager/hwtest/clock.py:tick",
        "configmanager/backends/sliver_start.py:start",
        "host/blivet_storage.py:_wait_for",
        "host/disks.py:_forget_partitions",
        "host/held_up.py:write_all",
        "hwdetect/dongle.py:shared_dongle",
    },
    "no wait at all: it looks once": {
        "configmanager/cli.py:apply",
        "configmanager/cli.py:run",
        "configmanager/node_images.py:_cache",
        "configmanager/vsys/folder.py:has_reader",
    },
    "a thread of its own: nothing stands still meanwhile": {
        "bootmanager/menu_run.py:_work",
        "configmanager/watch.py:_work",
        "host/memory.py:_sample",
        "host/report.py:_take",
        "images/give.py:_in_pieces",
        "images/neighbours.py:_look_out",
    },
    "a person, a sliver's user or another program: as long as it takes": {
        "bootmanager/debug.py:_released",
        "bootmanager/debug.py:stay",
        "configmanager/alone.py:ask",
        "configmanager/manager.py:_leave",
        "configmanager/manager.py:run",
        "configmanager/shell_server.py:_wait",
        "host/console.py:_first_line",
        "host/run.py:interactive",
        "host/terminal.py:_listen",
        "host/terminal.py:pause",
    },
    "the progress of the step says how far it is": {
        "bootmanager/hwtest/run.py:_later",
        "host/http.py:get",
        "images/spread.py:spread",
        "images/swarm.py:pick",
        "images/swarm.py:until_wanted",
        "images/unpack.py:run",
    },
}


def waits():
    """Yield file:function of each function that waits, and whether it says so."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            source = path.read_text()
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef) and any(map(is_wait, ast.walk(node))):
                    text = ast.get_source_segment(source, node)
                    # A person at a menu is told by the menu.
                    says = "wait.started" in text or "waiting=" in text
                    yield f"{path.relative_to(ROOT)}:{node.name}", says


def is_wait(node):
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in WAITS


FOUND = dict(waits())
EXCUSED = set().union(*REASONS.values())


@pytest.mark.parametrize("place", sorted(FOUND))
def test_a_wait_says_what_for_and_how_long(place):
    assert FOUND[place] or place in EXCUSED


def test_no_reason_is_for_what_is_gone():
    assert {place for place, says in FOUND.items() if not says} >= EXCUSED
