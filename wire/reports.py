"""Reports from the field: a node sends one archive, the server keeps it unopened."""

from __future__ import annotations

METHOD = "BootSendReport"
# In base64 it has to fit into a call's body.
MAXIMUM_BYTES = 1024 * 1024
MAXIMUM_CODE = 64
# RFC 1952, 2.3.1.
GZIP_MAGIC = b"\x1f\x8b\x08"
