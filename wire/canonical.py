"""One sequence of bytes for one value: what a MAC is computed over.

Every value is written as tag, length in decimal, colon, payload:

    n0:              nil
    b1:0  b1:1       false, true
    i<len>:<digits>  integer in decimal, a minus sign before negative ones
    d16:<hex>        double, its IEEE 754 bytes, big endian, in hex
    s<len>:<utf-8>   text (length in bytes)
    x<len>:<bytes>   binary
    l<count>:<...>   list of that many values
    m<count>:<...>   struct of that many members, each key (as s) then value, keys in byte order

Lengths make it unambiguous: a value moved to another field, split over two or of another type gives
other bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from xmlrpc.client import Binary

MAXIMUM_DEPTH = 32


def canonical(value: object, *, depth: int = 0) -> bytes:
    """Return the canonical bytes of a value made of XML-RPC types.

    Raises ValueError for other types and for nesting deeper than MAXIMUM_DEPTH.
    """
    if depth > MAXIMUM_DEPTH:
        raise ValueError(f"nested deeper than {MAXIMUM_DEPTH}")
    match value:
        case None:
            return b"n0:"
        case bool():
            return _item(b"b", b"1" if value else b"0")
        case int():
            return _item(b"i", str(int(value)).encode())
        case float():
            return _item(b"d", struct.pack(">d", value).hex().encode())
        case str():
            return _item(b"s", str(value).encode())
        case Binary():
            return _item(b"x", value.data)
        case bytes():
            return _item(b"x", value)
        case Mapping():
            return _members(value, depth)
        case Sequence():
            return b"l%d:" % len(value) + b"".join(canonical(item, depth=depth + 1) for item in value)
    raise ValueError(f"{type(value).__name__} has no canonical form")


def _members(value: Mapping[object, object], depth: int) -> bytes:
    pairs = []
    for key, item in value.items():
        if not isinstance(key, str):
            raise ValueError("the keys of a struct are text")
        pairs.append((key.encode(), canonical(item, depth=depth + 1)))
    return b"m%d:" % len(pairs) + b"".join(_item(b"s", key) + item for key, item in sorted(pairs))


def _item(tag: bytes, payload: bytes) -> bytes:
    return tag + b"%d:" % len(payload) + payload
