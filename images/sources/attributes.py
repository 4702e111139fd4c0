"""Which extended attributes belong to an image, and what makes one sound.

Kept are those that mean the same on any machine: user.*, file capabilities, ACLs, and IMA's signatures of
files. Left out, wherever they come from, are those of the machine that they were found on:

- the labels of security modules (security.selinux, security.SMACK64...): the policy of the installed system
  gives them, and those in an operator's folder say how *his* machine sees it;
- security.evm, which is an HMAC with the machine's own key;
- trusted.*, with which overlayfs and others keep their books, and which only root can see: so root and
  anybody else make the same image;
- system.nfs4_acl and others of a server's or a file system's own.
"""

from __future__ import annotations

from collections.abc import Mapping

from images.entries import Kind
from images.index import XATTR_NAME_MAX, XATTR_SIZE_MAX
from images.sources import acl

ACL_ACCESS = "system.posix_acl_access"
ACL_DEFAULT = "system.posix_acl_default"
_CAPABILITY = "security.capability"
_KEPT = (_CAPABILITY, "security.ima", ACL_ACCESS, ACL_DEFAULT)
_ONLY_ON = {
    ACL_ACCESS: tuple(kind for kind in Kind if kind is not Kind.LINK),
    ACL_DEFAULT: (Kind.FOLDER,),
}
# linux/capability.h: the first word has a revision in its high byte, whether it is effective in its lowest
# bit; setxattr takes revisions 2 and 3, each of one length.
_CAPABILITY_BYTES = {2: 20, 3: 24}


def is_kept(name: str) -> bool:
    """Say whether the attribute belongs to an image."""
    return name in _KEPT or name.startswith("user.")


def chosen(found: Mapping[str, bytes], kind: Kind) -> tuple[tuple[str, bytes], ...]:
    """Return the attributes that are kept, by name.

    Raises ValueError where Linux would refuse one on a thing of this kind.
    """
    kept = {name: value for name, value in found.items() if is_kept(name)}
    for name, value in kept.items():
        if len(name.encode("utf-8", "surrogateescape")) > XATTR_NAME_MAX or "\0" in name:
            raise ValueError(f"the attribute {name[:40]!r}... has no name that Linux takes")
        if name == "user." or (name == _CAPABILITY and not _is_capability(value)):
            raise ValueError(f"the attribute {name!r} of {len(value)} bytes, which Linux does not take")
        if len(value) > XATTR_SIZE_MAX:
            raise ValueError(f"the attribute {name!r} has {len(value)} bytes")
        if name in (ACL_ACCESS, ACL_DEFAULT):
            acl.check(value)
        if name in _ONLY_ON and kind not in _ONLY_ON[name]:
            raise ValueError(f"the attribute {name!r} on a thing of kind {kind.name}")
        if name.startswith("user.") and kind not in (Kind.FILE, Kind.FOLDER):
            raise ValueError(f"the attribute {name!r} on a thing of kind {kind.name}")
    # Linux stores none that says no more than the mode; archives may have it for every file.
    if ACL_ACCESS in kept and acl.is_minimal(kept[ACL_ACCESS]):
        del kept[ACL_ACCESS]
    return tuple(sorted(kept.items()))


def _is_capability(value: bytes) -> bool:
    return (
        len(value) >= 4
        and len(value) == _CAPABILITY_BYTES.get(value[3])
        and value[:3] in (b"\0\0\0", b"\1\0\0")
    )
