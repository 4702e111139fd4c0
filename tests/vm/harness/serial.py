"""A serial line of the machine: everything it says goes to a file, and to whoever listens; one may type.

The harness listens on a Unix socket and QEMU connects, so no byte is lost before someone reads.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

Listener = Callable[[bytes], None]


class SerialLine:
    """One serial port, open for as long as one QEMU process lives."""

    def __init__(self, path: Path, log: Path, listener: Listener | None = None) -> None:
        """Listen on the socket `path`; append what comes to `log` and hand it to `listener`."""
        self.path = path
        self.log = log
        self._listener = listener
        self._peer: socket.socket | None = None
        self._connected = threading.Event()
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._thread = threading.Thread(target=self._read, name=f"serial {path.name}", daemon=True)
        self._thread.start()

    def type(self, text: str) -> None:
        """Type `text` at the other end. Raises OSError when the machine is off."""
        if not self._connected.wait(10) or self._peer is None:
            raise OSError(f"{self.path.name}: the machine never opened this serial line")
        self._peer.sendall(text.encode())

    def close(self) -> None:
        """Read what is still coming from the dead machine, then let go of the line."""
        if not self._connected.is_set():
            # QEMU never came: wake the thread out of accept().
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(self.path))
        self._thread.join(10)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        peer, _ = self._socket.accept()
        self._peer = peer
        self._connected.set()
        with peer, self.log.open("ab", buffering=0) as log:
            while True:
                try:
                    data = peer.recv(65536)
                except OSError:
                    return
                if not data:
                    return
                log.write(data)
                if self._listener is not None:
                    self._listener(data)
