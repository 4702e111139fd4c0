"""zstd frames of a stated length: what the blobs of an image are."""

from __future__ import annotations

import zstandard

from images.manifest import MalformedManifest


def compress(data: bytes, level: int) -> bytes:
    """Return `data` as one frame that states its length; the blob's name is checksum enough."""
    return zstandard.ZstdCompressor(level=level, write_checksum=False).compress(data)


def unpack(frame: bytes, size: int) -> bytes:
    """Return the content of a frame, which is `size` bytes. Raises MalformedManifest."""
    content = bytearray(size)
    unpack_into(frame, memoryview(content))
    return bytes(content)


def unpack_into(frame: bytes, content: memoryview) -> None:
    """Fill `content` with the content of a frame, which is as long. Raises MalformedManifest.

    No more memory is taken: a frame that states another length, or none, is refused unread.
    """
    try:
        stated = zstandard.get_frame_parameters(frame).content_size
        if stated != len(content):
            raise MalformedManifest(f"a zstd frame for {len(content)} bytes states another length")
        with zstandard.ZstdDecompressor().stream_reader(frame) as reader:
            # One byte more would be of another frame.
            if reader.readinto(content) != len(content) or reader.read(1):
                raise MalformedManifest(f"not one zstd frame for {len(content)} bytes")
    except zstandard.ZstdError as error:
        raise MalformedManifest(f"not a zstd frame: {error}") from None
