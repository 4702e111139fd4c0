"""Between plain data (JSON, XML-RPC structs) and the frozen message classes.

Types are checked, never coerced: the text "1", the number 1 and the truth value True are three
different things, and a peer that mixes them up is told so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

import cattrs
from cattrs.errors import BaseValidationError
from cattrs.v import format_exception, transform_error

from wire.errors import VerificationError

T = TypeVar("T")


class MalformedMessage(VerificationError):
    """Data from outside does not have the shape that its message class says."""

    code = "malformed-message"
    title = "A message has the wrong form"
    hint = "Check that node and server run matching versions."


def _strict(kind: type) -> Any:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{kind.__name__} wanted, {type(value).__name__} given")
        return value

    return hook


def _enum(value: Any, kind: type[StrEnum]) -> StrEnum:
    if type(value) is not str:
        raise TypeError(f"one of {', '.join(kind)} wanted, {type(value).__name__} given")
    return kind(value)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    for kind in (int, str, bool, float):
        converter.register_structure_hook(kind, _strict(kind))
    # A StrEnum is a str too: without its own hook any text would pass for one.
    converter.register_structure_hook(StrEnum, _enum)
    return converter


_converter = _make_converter()


def structure(data: object, kind: type[T]) -> T:
    """Build a `kind` from plain data; unknown keys are ignored so that newer peers can say more.

    Raises MalformedMessage, which names each offending field.
    """
    try:
        return _converter.structure(data, kind)
    except BaseValidationError as error:
        reasons = "; ".join(transform_error(error, format_exception=_reason))
        raise MalformedMessage(f"{kind.__name__}: {reasons}") from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise MalformedMessage(f"{kind.__name__}: {error}") from None


def _reason(error: BaseException, kind: type | None) -> str:
    """Let a message class that refuses its own values say why."""
    return str(error) if type(error) is ValueError else str(format_exception(error, kind))


def unstructure(message: object) -> Any:
    """Return plain data (dicts, lists, scalars) for a message."""
    return _plain(_converter.unstructure(message))


def _plain(data: Any) -> Any:
    """Tuples become lists and enumerations their text, which is all that XML-RPC can carry."""
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return str(data) if isinstance(data, StrEnum) else data
