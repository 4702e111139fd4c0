"""Decompression of what may be damaged, cut off or made to fill the disk, in steps of bounded memory.

The compressed stream must be whole: to the mark that ends it, with its checksum where it has one. Several
streams one after another are one, as for gzip(1) and the others, and zeros may follow, as padding.
"""

from __future__ import annotations

import bz2
import lzma
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from typing import BinaryIO, Protocol, cast

import zstandard

from images.sources.base import NotAnImage

# Nobody's operating system is larger, and a bomb is noticed before it has filled most disks.
LIMIT_BYTES = 2**40
READ_BYTES = 1024 * 1024
_OUTPUT_BYTES = 1024 * 1024
# zstd gives no bound for what comes out at once: 4 bytes can become 128 KiB, so 2 KiB become 64 MiB at most.
_ZSTD_INPUT_BYTES = 2048
# What `xz -9 --extreme` needs, several times.
_XZ_MEMORY_BYTES = 512 * 1024 * 1024


class Compression(StrEnum):
    """How a stream of bytes is compressed."""

    NONE = "none"
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"


class _Bounded(Protocol):
    """bz2's and lzma's decompressors."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


# Takes data, yields what it becomes, and returns what is left when the stream has ended, else None.
_Feed = Callable[[bytes], Generator[bytes, None, bytes | None]]

_FAILURES = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, ValueError)


def compression_of(head: bytes) -> Compression:
    """Say by its first bytes how something is compressed."""
    for compression, (magics, _) in _KINDS.items():
        if head.startswith(magics):
            return compression
    return Compression.NONE


def decompress(pieces: Iterable[bytes], compression: Compression, name: object) -> Iterator[bytes]:
    """Yield the decompressed bytes. Raises NotAnImage, and what reading `pieces` raises."""
    if compression is Compression.NONE:
        yield from pieces
        return
    _, start = _KINDS[compression]
    feed: _Feed | None = None
    for piece in pieces:
        rest: bytes | None = piece
        while rest:
            if feed is None:
                rest = rest.lstrip(b"\0")
                feed = start() if rest else None
                continue
            try:
                rest = yield from feed(rest)
            except _FAILURES as error:
                raise NotAnImage(
                    f"{name}: damaged {compression} data, or something else after them: {error}"
                ) from None
            if rest is not None:
                feed = None
    if feed is not None:
        raise NotAnImage(f"{name}: the {compression} data are cut off")


def spool(pieces: Iterable[bytes], name: object, limit_bytes: int = LIMIT_BYTES) -> BinaryIO:
    """Return a temporary file without a name that holds the pieces; who asks closes it.

    Raises NotAnImage if they are more than `limit_bytes`, OSError.
    """
    size = 0
    with ExitStack() as stack:
        file = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile(prefix="image-")))
        for piece in pieces:
            size += len(piece)
            if size > limit_bytes:
                raise NotAnImage(f"{name}: more than {limit_bytes} bytes when it is decompressed")
            file.write(piece)
        file.flush()
        stack.pop_all()
    return file


def read_pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file. Raises OSError."""
    while piece := file.read(READ_BYTES):
        yield piece


def _bounded(stream: _Bounded) -> _Feed:
    def feed(data: bytes) -> Generator[bytes, None, bytes | None]:
        yield stream.decompress(data, _OUTPUT_BYTES)
        while not stream.eof and not stream.needs_input:
            yield stream.decompress(b"", _OUTPUT_BYTES)
        return stream.unused_data if stream.eof else None

    return feed


def _gzip() -> _Feed:
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    def feed(data: bytes) -> Generator[bytes, None, bytes | None]:
        while not stream.eof:
            piece = stream.decompress(data, _OUTPUT_BYTES)
            yield piece
            data = stream.unconsumed_tail
            if not data and len(piece) < _OUTPUT_BYTES:
                break
        return stream.unused_data if stream.eof else None

    return feed


def _zstd() -> _Feed:
    stream = zstandard.ZstdDecompressor().decompressobj()

    def feed(data: bytes) -> Generator[bytes, None, bytes | None]:
        for at in range(0, len(data), _ZSTD_INPUT_BYTES):
            end = at + _ZSTD_INPUT_BYTES
            yield stream.decompress(data[at:end])
            if stream.eof:
                return stream.unused_data + data[end:]
        return None

    return feed


def _bzip2() -> _Feed:
    return _bounded(bz2.BZ2Decompressor())


def _xz() -> _Feed:
    return _bounded(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES))


# pzstd and others begin with a frame that is skipped: RFC 8878, 3.1.2.
_SKIPPED = tuple(bytes([0x50 + number]) + b"\x2a\x4d\x18" for number in range(16))
_KINDS: dict[Compression, tuple[tuple[bytes, ...], Callable[[], _Feed]]] = {
    Compression.GZIP: ((b"\x1f\x8b",), _gzip),
    Compression.BZIP2: ((b"BZh",), _bzip2),
    Compression.XZ: ((b"\xfd7zXZ\0",), _xz),
    Compression.ZSTD: ((b"\x28\xb5\x2f\xfd", *_SKIPPED), _zstd),
}
