"""Tar archives made in memory, and what a source says of them."""

import io
import tarfile

from images.entries import Entry, Kind
from images.sources.archive import ArchiveSource


def info(name, kind=tarfile.REGTYPE, **fields):
    """A header: `pax` are its extended records, the rest attributes of TarInfo."""
    made = tarfile.TarInfo(name)
    made.type = kind
    made.pax_headers = fields.pop("pax", {})
    made.mode = fields.pop("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def special(name, kind, **fields):
    return info(name, kind, **fields), b""


def folder(name, **fields):
    return info(name, tarfile.DIRTYPE, **fields), b""


def file(name, data=b"", **fields):
    return info(name, size=len(data), **fields), data


def link(name, target, **fields):
    return info(name, tarfile.SYMTYPE, linkname=target, **fields), b""


def hard(name, target, **fields):
    return info(name, tarfile.LNKTYPE, linkname=target, **fields), b""


def tar(*members, form=tarfile.PAX_FORMAT):
    """The bytes of an archive with these members."""
    made = io.BytesIO()
    with tarfile.open(
        fileobj=made, mode="w", format=form, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for header, data in members:
            archive.addfile(header, io.BytesIO(data))
    return made.getvalue()


def padded(data):
    return data + bytes(-len(data) % 512)


def checked(header):
    """The header with its checksum made right."""
    made = bytearray(header)
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


# Where a header's fields are (tar.h of GNU tar).
_FIELDS = {
    "mode": 100,
    "uid": 108,
    "gid": 116,
    "size": 124,
    "mtime": 136,
    "type": 156,
    "magic": 257,
    "devmajor": 329,
    "prefix": 345,
}


def with_fields(header, **fields):
    """The header with these bytes in these fields, and the checksum that goes with them."""
    made = bytearray(header)
    for name, value in fields.items():
        at = _FIELDS[name]
        made[at : at + len(value)] = value
    return checked(made)


def pax_records(*records):
    """Records as pax writes them: their length in decimal, which counts itself, then name=value."""
    made = b""
    for name, value in records:
        body = b" " + name.encode() + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        made += str(length).encode() + body
    return made


def read(folder, data):
    """What an archive of these bytes is to a source, by path; it is written into `folder`."""
    path = folder / "archive"
    path.write_bytes(data)
    with ArchiveSource(path) as source:
        return contents(source.members())


def contents(members):
    """What a source yields, by path: (entry without its path, data). Each path occurs once."""
    found = {}
    for member in members:
        entry = member.entry
        assert entry.path not in found, entry.path
        found[entry.path] = (Entry("", *(getattr(entry, name) for name in FIELDS)), b"".join(member.read()))
    for path, (entry, _) in found.items():
        parent = path.rpartition("/")[0]
        assert found[parent][0].kind is Kind.FOLDER, path
        assert entry.kind is not Kind.HARD or found[entry.target][0].kind is Kind.FILE, path
    return found


def kinds(found):
    return {path: entry.kind.value for path, (entry, _) in found.items() if path}


FIELDS = [name for name in Entry.__dataclass_fields__ if name != "path"]
