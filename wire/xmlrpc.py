"""XML-RPC bodies, written and read within bounds.

The reader refuses entities and document types (defusedxml) and bodies over a given size. The writer
escapes carriage returns, which XML readers would otherwise turn into newlines and so break a MAC.
"""

from __future__ import annotations

import re
from typing import Any
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error, Fault, Unmarshaller, dumps

from defusedxml.common import DefusedXmlException
from defusedxml.xmlrpc import DefusedExpatParser

from wire.structure import MalformedMessage

__all__ = ["Fault", "dump_call", "dump_fault", "dump_reply", "load_call", "load_reply"]

MAXIMUM_BYTES = 4 * 1024 * 1024
# Not allowed in XML 1.0 at all; a writer that let them through would produce an unreadable body.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def dump_call(method: str, params: list[Any]) -> bytes:
    """Return the body of a call."""
    return _finish(dumps(tuple(params), method, allow_none=True))


def dump_reply(result: Any) -> bytes:
    """Return the body of a reply."""
    return _finish(dumps((result,), methodresponse=True, allow_none=True))


def dump_fault(code: int, text: str) -> bytes:
    """Return the body of a fault."""
    return _finish(dumps(Fault(code, _CONTROL.sub("?", text)), methodresponse=True))


def load_call(body: bytes) -> tuple[str, list[Any]]:
    """Return method and parameters. Raises MalformedMessage."""
    params, method = _load(body)
    if not isinstance(method, str) or not method:
        raise MalformedMessage("XML-RPC: a call without a method name")
    return method, list(params)


def load_reply(body: bytes) -> Any:
    """Return the result. Raises Fault where the peer answered with one, MalformedMessage."""
    params, _ = _load(body)
    if len(params) != 1:
        raise MalformedMessage(f"XML-RPC: a reply with {len(params)} values, one wanted")
    return params[0]


def _finish(text: str) -> bytes:
    found = _CONTROL.search(text)
    if found:
        raise MalformedMessage(f"XML-RPC cannot carry the control character {found[0]!r}")
    return text.replace("\r", "&#13;").encode()


def _load(body: bytes) -> tuple[tuple[Any, ...], str | None]:
    if len(body) > MAXIMUM_BYTES:
        raise MalformedMessage(f"XML-RPC: a body of {len(body)} bytes, {MAXIMUM_BYTES} allowed")
    target = Unmarshaller(use_builtin_types=True)
    try:
        parser = DefusedExpatParser(target, forbid_dtd=True)
        parser.feed(body)
        parser.close()
        return target.close(), target.getmethodname()
    except Fault:
        raise
    except (ExpatError, DefusedXmlException, Error, ValueError, TypeError, IndexError, KeyError) as error:
        raise MalformedMessage(f"XML-RPC: {type(error).__name__}: {error}") from None
