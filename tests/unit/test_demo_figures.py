"""From events to the demo's table."""

from typing import Any

from tests.vm.demo.figures import BOOT_PHASE, NODE_PHASE, measure


def event(name: str, program: str = "bootmanager", **more: Any) -> dict[str, Any]:
    return {"event": name, "program": program, "uptime": 1.0, **more}


EVENTS = [
    event("program.started", uptime=20.0),
    event("step.done", step="check_in", seconds=1.5),
    event("step.kept", step="set_clock", seconds=0.5),
    event("step.done", step="partition", seconds=3.0),
    event("step.done", step="unpack", seconds=40.0),
    event("transfer", image="base", network_bytes=100, cache_bytes=0),
    event("step.done", step="bootloader", seconds=10.0),
    event("step.done", step="mark", seconds=1.0),
    event("peak", memory_bytes=300),
    event("program.started", program="configmanager", uptime=9.0),
    event("transfer", program="configmanager", image="sliver", network_bytes=0, cache_bytes=7),
]


def test_phases_add_up_to_the_time_outside() -> None:
    figures = measure("install", EVENTS, 100.0, answered=True)
    assert figures.phases[BOOT_PHASE] == 20.0
    assert figures.phases["detect hardware, network, check in"] == 2.0
    assert figures.phases["fetch, verify and unpack"] == 40.0
    assert figures.phases["mark, report, validate, hand over"] == 1.0
    assert figures.phases[NODE_PHASE] == 100.0 - 76.0
    assert sum(figures.phases.values()) == 100.0


def test_bytes_of_both_programs_and_peak_memory() -> None:
    plain = measure("install", EVENTS, 100.0, answered=True).to_plain()
    assert (plain["network_bytes"], plain["cache_bytes"], plain["peak_memory_bytes"]) == (100, 7, 300)
    assert plain["sliver_answered"] is True
