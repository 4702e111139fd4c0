"""A switch for machines under test, run inside a network namespace: python -m tests.vm.harness.switch PORT...

PORT is SOCKET=TAP or SOCKET=TAP:VLAN. Each machine's card is a Unix socket, on which QEMU connects (its
netdev `stream`: frames after their length in four bytes); TAP is made here, an interface of the namespace. At
a port with a VLAN, frames are tagged on the machine's side, and none without the tag pass. Ports do not see
one another. Written here because a kernel for tests may know neither VLANs nor bridges that do.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x1002
_TAG = b"\x81\x00"
_FRAME_BYTES = 65536


@dataclass
class Port:
    """Where one card of a machine is plugged in."""

    tap: int
    vlan: int
    listening: socket.socket
    machine: socket.socket | None = None
    came: bytes = b""

    def to_machine(self, frame: bytes) -> None:
        """Send a frame from the tap."""
        if self.machine is None:
            return
        if self.vlan:
            frame = frame[:12] + _TAG + struct.pack("!H", self.vlan) + frame[12:]
        try:
            self.machine.sendall(struct.pack("!I", len(frame)) + frame)
        except OSError:
            self.machine = None

    def from_machine(self) -> bool:
        """Pass on what came; returns whether the machine is still there."""
        data = self.machine.recv(_FRAME_BYTES) if self.machine is not None else b""
        self.came += data
        while len(self.came) >= 4 and len(self.came) >= 4 + (size := int.from_bytes(self.came[:4])):
            frame, self.came = self.came[4 : 4 + size], self.came[4 + size :]
            if self.vlan:
                if frame[12:14] != _TAG or int.from_bytes(frame[14:16]) & 0xFFF != self.vlan:
                    continue
                frame = frame[:12] + frame[16:]
            os.write(self.tap, frame)
        return bool(data)


def open_tap(name: str) -> int:
    """Make a tap interface, which is there as long as the handle is open."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TAP_WITHOUT_HEADER))
    return tap


def main() -> None:
    """Pass frames on until killed."""
    taps: dict[str, int] = {}
    ports: list[Port] = []
    selector = selectors.DefaultSelector()
    for word in sys.argv[1:]:
        path, _, place = word.partition("=")
        name, _, vlan = place.partition(":")
        taps[name] = taps.get(name) or open_tap(name)
        listening = socket.socket(socket.AF_UNIX)
        Path(path).unlink(missing_ok=True)
        listening.bind(path)
        listening.listen(1)
        ports.append(Port(taps[name], int(vlan or 0), listening))
        selector.register(listening, selectors.EVENT_READ, ports[-1])
    for tap in taps.values():
        selector.register(tap, selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if isinstance(key.fileobj, int):
                frame = os.read(key.fileobj, _FRAME_BYTES)
                for port in ports:
                    if port.tap == key.fileobj:
                        port.to_machine(frame)
            elif key.fileobj is key.data.listening:
                key.data.machine, key.data.came = key.data.listening.accept()[0], b""
                selector.register(key.data.machine, selectors.EVENT_READ, key.data)
            elif not key.data.from_machine():
                selector.unregister(key.fileobj)
                key.data.machine = None


if __name__ == "__main__":
    main()
