"""XML-RPC bodies, written and read within bounds.

The reader refuses entities and document types (defusedxml), bodies over a given size, other encodings
than UTF-8, deep nesting, and whatever has no canonical form, so that what it returns can always be put
under a MAC. The writer escapes carriage returns, which XML readers would otherwise turn into newlines
and so break a MAC. Numbers of bytes outgrow the 32 bits of an XML-RPC integer: such numbers travel as
<i8>, as many implementations read and write it, and only they do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import Any
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape
from xmlrpc.client import Error, Fault, Marshaller, ResponseError, Unmarshaller

from defusedxml.common import DefusedXmlException
from defusedxml.xmlrpc import DefusedExpatParser

from wire.canonical import MAXIMUM_DEPTH
from wire.errors import quoted
from wire.structure import MalformedMessage

__all__ = ["Fault", "dump_call", "dump_fault", "dump_reply", "load_call", "load_reply"]

MAXIMUM_BYTES = 4 * 1024 * 1024
# Not allowed in XML 1.0 at all; a writer that let them through would produce an unreadable body.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_HEAD = "<?xml version='1.0'?>\n"
_INTEGER = re.compile("[+-]?[0-9]{1,19}")
_DOUBLE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


class _Writer(Marshaller):
    """The standard writer, and wide integers."""

    def _dump_int(self, value: int, write: Callable[[str], Any]) -> None:
        for name, bits in (("int", 31), ("i8", 63)):
            if -(2**bits) <= value < 2**bits:
                write(f"<value><{name}>{value}</{name}></value>\n")
                return
        raise OverflowError("an integer of more than 64 bits")

    def _dump_double(self, value: float, write: Callable[[str], Any]) -> None:
        if not isfinite(value):
            raise OverflowError("a number that is not finite")
        write(f"<value><double>{value!r}</double></value>\n")

    dispatch: dict[Any, Any] = {**Marshaller.dispatch, int: _dump_int, float: _dump_double}


class _Reader(Unmarshaller):
    """The standard reader, which is tolerant, held to types that have a canonical form and to a depth.

    What it would also take: decimal numbers and times, text in place of a number (`1_000`), integers of
    any length, a key twice, lists within lists until the memory ends.
    """

    def __init__(self) -> None:
        super().__init__(use_builtin_types=True)
        self._open = 0

    def start(self, tag: str, attrs: dict[str, str]) -> None:
        self._open += 1
        # A level of values takes three elements; others, which nobody knows, must not go on either.
        if len(self._marks) > MAXIMUM_DEPTH or self._open > 4 * MAXIMUM_DEPTH:
            raise ResponseError(f"nested deeper than {MAXIMUM_DEPTH}")
        super().start(tag, attrs)

    def end(self, tag: str) -> None:
        self._open -= 1
        super().end(tag)

    def _end_integer(self, data: str) -> None:
        if not _INTEGER.fullmatch(data) or not -(2**63) <= int(data) < 2**63:
            raise ValueError("an integer of at most 64 bits wanted")
        self.end_int(data)

    def _end_double(self, data: str) -> None:
        if not _DOUBLE.fullmatch(data) or not isfinite(float(data)):
            raise ValueError("a finite number wanted")
        self.end_double(data)

    def _end_struct(self, data: str) -> None:
        keys = self._stack[self._marks[-1] :: 2]
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
            raise ValueError("a struct has text for keys, and each once")
        self.end_struct(data)

    dispatch: dict[str, Any] = {
        **{
            tag: Unmarshaller.dispatch[tag]
            for tag in ("nil", "boolean", "string", "base64", "array", "name", "value")
        },
        **{tag: Unmarshaller.dispatch[tag] for tag in ("params", "fault", "methodName")},
        **dict.fromkeys(("int", "i4", "i8"), _end_integer),
        "double": _end_double,
        "struct": _end_struct,
    }


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
    try:
        params, _ = _load(body)
    except Fault as fault:
        # Nothing proves who said it, and people read it.
        raise Fault(fault.faultCode, quoted(fault.faultString)) from None
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
    target = _Reader()
    try:
        parser = DefusedExpatParser(target, forbid_dtd=True)
        # Decoded here, so that no declaration in the body chooses another of Python's many codecs.
        parser.feed(body.decode())
        parser.close()
        return target.close(), target.getmethodname()
    except Fault:
        raise
    except (ExpatError, DefusedXmlException, Error, ValueError, TypeError, IndexError, KeyError) as error:
        raise MalformedMessage(f"XML-RPC: {type(error).__name__}: {quoted(error)}") from None
