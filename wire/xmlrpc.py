"""XML-RPC bodies, written and read within bounds.

The reader refuses entities and document types (defusedxml) and bodies over a given size. The writer
escapes carriage returns, which XML readers would otherwise turn into newlines and so break a MAC.
Numbers of bytes outgrow the 32 bits of an XML-RPC integer: such numbers travel as <i8>, as many
implementations read and write it, and only they do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape
from xmlrpc.client import Error, Fault, Marshaller, Unmarshaller

from defusedxml.common import DefusedXmlException
from defusedxml.xmlrpc import DefusedExpatParser

from wire.structure import MalformedMessage

__all__ = ["Fault", "dump_call", "dump_fault", "dump_reply", "load_call", "load_reply"]

MAXIMUM_BYTES = 4 * 1024 * 1024
# Not allowed in XML 1.0 at all; a writer that let them through would produce an unreadable body.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_HEAD = "<?xml version='1.0'?>\n"


class _Writer(Marshaller):
    """The standard writer, and wide integers."""

    def _dump_int(self, value: int, write: Callable[[str], Any]) -> None:
        for name, bits in (("int", 31), ("i8", 63)):
            if -(2**bits) <= value < 2**bits:
                write(f"<value><{name}>{value}</{name}></value>\n")
                return
        raise OverflowError("an integer of more than 64 bits")

    dispatch: dict[Any, Any] = {**Marshaller.dispatch, int: _dump_int}


def dump_call(method: str, params: list[Any]) -> bytes:
    """Return the body of a call. Raises MalformedMessage for values that XML-RPC cannot carry."""
    name = escape(method)
    return _finish(f"<methodCall>\n<methodName>{name}</methodName>\n{_dump(tuple(params))}</methodCall>\n")


def dump_reply(result: Any) -> bytes:
    """Return the body of a reply. Raises MalformedMessage for values that XML-RPC cannot carry."""
    return _finish(f"<methodResponse>\n{_dump((result,))}</methodResponse>\n")


def dump_fault(code: int, text: str) -> bytes:
    """Return the body of a fault."""
    fault = Fault(code, _CONTROL.sub("?", text))
    return _finish(f"<methodResponse>\n{_dump(fault)}</methodResponse>\n")


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


def _dump(values: Any) -> str:
    try:
        return _Writer(allow_none=True).dumps(values)
    except (TypeError, OverflowError) as error:
        raise MalformedMessage(f"XML-RPC: {error}") from None


def _finish(body: str) -> bytes:
    text = _HEAD + body
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
