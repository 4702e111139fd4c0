"""A machine that can be powered on, waited for, typed at, and robbed of its power."""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qemu.qmp import QMPError

from tests.vm.harness.hardware import Disk, Hardware, Wires, argv, plug_arguments
from tests.vm.harness.qmp import Monitor
from tests.vm.harness.serial import SerialLine
from tests.vm.harness.timeline import Event, Timeline


class Machine:
    """One QEMU machine. What it says is kept under `folder`: argv, console, events, QEMU's own words.

    The hardware may be changed (`self.hardware = replace(...)`) while the power is off.
    """

    def __init__(self, hardware: Hardware, folder: Path, accelerator: str) -> None:
        self.hardware = hardware
        self.folder = folder
        self.timeline = Timeline()
        self._accelerator = accelerator
        self._process: subprocess.Popen[bytes] | None = None
        self._power_ons = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.console_log = folder / "console.log"
        self.events_log = folder / "events.jsonl"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_power()

    @property
    def is_on(self) -> bool:
        """Return whether the machine has power."""
        return self._process is not None and self._process.poll() is None

    @property
    def process(self) -> int | None:
        """Return QEMU's process id, None while the power is off."""
        return self._process.pid if self._process is not None else None

    def power_on(self) -> None:
        """Press the button. The events of an earlier power-on are forgotten here, not in the files."""
        if self._process is not None:
            self.cut_power()
        self._power_ons += 1
        self.timeline.clear()
        # Unix socket names are limited to 107 bytes: not below the (long) log folder.
        self._sockets = tempfile.TemporaryDirectory(prefix="bm-vm-")
        wires = Wires(*(Path(self._sockets.name, name) for name in ("qmp", "console", "events")))
        self._monitor = Monitor(wires.qmp)
        self._console = SerialLine(wires.console, self.console_log)
        self._events = SerialLine(wires.events, self.events_log, self.timeline.feed)
        line = argv(self.hardware, wires, self._accelerator)
        with (self.folder / "qemu.argv").open("a") as told:
            told.write(shlex.join(line) + "\n")
        with (self.folder / "qemu.log").open("ab") as said:
            self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            self._monitor.accept()
        except (QMPError, OSError, TimeoutError) as error:
            self.cut_power()
            said_log = (self.folder / "qemu.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"QEMU did not start: {said_log}") from error

    def cut_power(self) -> None:
        """Pull the plug: QEMU is killed; nothing in the guest gets to know. No harm if it is off."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        self._monitor.close()
        self._console.close()
        self._events.close()
        self._sockets.cleanup()

    def reset(self) -> None:
        """Press the reset button."""
        self._monitor.execute("system_reset")

    def press_power_button(self) -> None:
        """Ask the guest to shut down (ACPI); see wait_off."""
        self._monitor.execute("system_powerdown")

    def wait_off(self, timeout: float) -> None:
        """Wait until the machine has switched itself off. Raises subprocess.TimeoutExpired."""
        if self._process is not None:
            self._process.wait(timeout)
            self.cut_power()

    def plug(self, disk: Disk) -> None:
        """Plug a USB or SCSI disk into the running machine; it is gone again after power_on."""
        node, device = plug_arguments(disk)
        self._monitor.execute("blockdev-add", **node)
        self._monitor.execute("device_add", **device)

    def unplug(self, name: str) -> None:
        """Pull out a USB or SCSI disk while the machine runs."""
        self._monitor.execute("device_del", id=name)

    def written(self, name: str) -> int:
        """Return how many bytes the machine wrote to a disk since power-on or since it was plugged in."""
        for device in self._monitor.execute("query-blockstats"):
            if f"/{name}/" in device.get("qdev", "") + "/" or device.get("device") == f"drive-{name}":
                return int(device["stats"]["wr_bytes"])
        raise ValueError(f"the machine has no disk {name}")

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Run any other command of QEMU's monitor."""
        return self._monitor.execute(command, **arguments)

    def type(self, text: str) -> None:
        """Type at the serial console."""
        self._console.type(text)

    def console(self) -> str:
        """Return all that the serial console has said, since the machine was made."""
        if not self.console_log.exists():
            return ""
        return self.console_log.read_text(errors="replace")

    def events(self, name: str | None = None, /, **wanted: Any) -> list[Event]:
        """Return the events since power-on; with a name, those that match."""
        return self.timeline.all(name, **wanted)

    def wait_event(
        self,
        name: str,
        /,
        *,
        timeout: float,
        after: Event | None = None,
        **wanted: Any,
    ) -> Event:
        """Wait for an event of this power-on; see Timeline.wait for when it fails."""
        return self.timeline.wait(
            name, wanted, timeout=timeout, after=after, health=self._health, story=self._story
        )

    def wait_error(self, code: str, *, timeout: float, after: Event | None = None) -> Event:
        """Wait for the event of an error with this code; any other error fails."""
        return self.wait_event("error", code=code, timeout=timeout, after=after)

    def _health(self) -> str | None:
        if self._process is None:
            return "the machine is off"
        status = self._process.poll()
        return None if status is None else f"QEMU ended with status {status}"

    def _story(self) -> str:
        tail = "\n".join(self.console().replace("\r", "").splitlines()[-30:])
        return f"end of the console ({self.console_log}):\n{tail}"

    def save_events(self) -> None:
        """Write the merged timeline next to the raw serial lines, for people."""
        merged = self.folder / f"timeline-{self._power_ons}.jsonl"
        with suppress(OSError):
            merged.write_text("".join(json.dumps(event) + "\n" for event in self.events()))
