"""Asks for what to start, as firmware and iPXE do: `python -m tests.host.pxe_client ARCH VENDOR USER-CLASS`.

Prints the answer as JSON: the address offered, the file (RFC 951's field, or option 67), and option 60. Where
only a menu is offered, its first entry is asked for at port 4011 (Preboot Execution Environment 2.1, 2.2).
"""

import json
import socket
import struct
import sys

MAGIC = b"\x63\x82\x53\x63"
MAC = bytes.fromhex("525400123456")
OWN = "192.0.2.200"
SECONDS = 10
DISCOVER, REQUEST = 1, 3
MENU, ITEM = 9, 71


def packet(kind, vendor, user_class, architecture, item=b""):
    """Return what is asked (RFC 2131, 4578); the answer may come by broadcast."""
    address = socket.inet_aton(OWN) if kind == REQUEST else bytes(4)
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x1234, 0, 0x8000) + address + bytes(12) + MAC
    options = [
        (53, bytes([kind])),
        (55, bytes([1, 3, 6, 43, 60, 66, 67, 175])),
        (60, f"{vendor}:Arch:{architecture:05}:UNDI:003016".encode()),
        (93, struct.pack("!H", architecture)),
        (94, b"\x01\x03\x10"),
        (97, b"\x00" + bytes(16)),
    ]
    if user_class:
        options += [(77, user_class.encode()), (175, b"\xb1\x05\x01\x1a\xf4\x10\x00")]
    if item:
        options.append((43, bytes([ITEM, len(item)]) + item + b"\xff"))
    return head + bytes(10 + 64 + 128) + MAGIC + packed(options) + b"\xff"


def packed(options):
    """Return options as bytes."""
    return b"".join(bytes([code, len(value)]) + value for code, value in options)


def unpacked(data):
    """Return options by their codes."""
    found = {}
    while data and data[0] != 255:
        if data[0] == 0:
            data = data[1:]
            continue
        found[data[0]] = data[2 : 2 + data[1]]
        data = data[2 + data[1] :]
    return found


def file_of(answer):
    """Return the file that an answer names, "" for none."""
    named = unpacked(answer[240:]).get(67) or answer[108:236]
    return named.rstrip(b"\x00").decode()


def main():
    """Ask, and print what comes."""
    how = sys.argv[2], sys.argv[3], int(sys.argv[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        asking.bind(("", 68))
        asking.settimeout(SECONDS)
        asking.sendto(packet(DISCOVER, *how), ("255.255.255.255", 67))
        offer, server = asking.recvfrom(2048)
        options = unpacked(offer[240:])
        file = file_of(offer)
        if not file:
            menu = unpacked(options.get(43, b"")).get(MENU, b"")
            # Its first two bytes are the entry's type, and layer 0 is wanted.
            item = menu[:2] + bytes(2) if menu else b""
            asking.sendto(packet(REQUEST, *how, item), (server[0], 4011))
            file = file_of(asking.recv(2048))
    address, vendor = socket.inet_ntoa(offer[16:20]), options.get(60, b"").decode()
    print(json.dumps({"address": address, "file": file, "vendor": vendor, "router": 3 in options}))


if __name__ == "__main__":
    main()
