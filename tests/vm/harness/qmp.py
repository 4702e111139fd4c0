"""QEMU's monitor, spoken to from ordinary threads: one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError


class Monitor:
    """The QMP connection of one machine. The harness listens; QEMU connects when it starts."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.path = path
        self._client = QMPClient(path.stem)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._call(self._client.start_server(str(path)), 10)

    def accept(self) -> None:
        """Wait for QEMU to connect (at most 20 seconds)."""
        self._call(self._client.accept(), 20)

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one QMP command and return its result. Raises QMPError when QEMU refuses or is gone."""
        return self._call(self._client.execute(command, arguments or None), 20)

    def close(self) -> None:
        """End the connection and the thread; never fails, the machine may be dead already."""
        try:
            self._call(self._client.disconnect(), 5)
        except (QMPError, EOFError, OSError, TimeoutError):
            pass
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop.close()
            self.path.unlink(missing_ok=True)

    def _call(self, what: Any, seconds: float) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(seconds)
