"""Between plain data (JSON, XML-RPC structs) and the frozen message classes.

Types are checked, never coerced: the text "1", the number 1 and the truth value True are three
different things, and a peer that mixes them up is told so.
"""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast, get_args, get_origin

import cattrs
from cattrs.errors import BaseValidationError, IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception, transform_error

from wire.errors import VerificationError

T = TypeVar("T")
# Of one list, as many are told.
_MOST_FAULTS = 10


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


def _fields_of(converter: cattrs.Converter, kind: type) -> Any:
    inner: Any = make_dict_structure_fn(kind, converter, _cattrs_detailed_validation=True)

    def hook(value: Any, _: Any) -> Any:
        # A text has no members, so every field with a default would get that.
        if not isinstance(value, dict):
            raise TypeError(f"a struct wanted, {type(value).__name__} given")
        return inner(value, kind)

    return hook


def _items_of(converter: cattrs.Converter, kind: Any) -> Any:
    item_kind = get_args(kind)[0]

    def hook(value: Any, _: Any) -> Any:
        # A text would do for a list of its characters, a struct for a list of its keys.
        if not isinstance(value, list | tuple):
            raise TypeError(f"a list wanted, {type(value).__name__} given")
        found, errors = [], []
        for index, item in enumerate(value):
            try:
                found.append(converter.structure(item, item_kind))
            except (BaseValidationError, TypeError, ValueError) as error:
                error.add_note(IterableValidationNote(f"item {index}", index, item_kind))
                errors.append(error)
            if len(errors) == _MOST_FAULTS:
                # Each costs kilobytes, and a list of nothing else would have a million.
                break
        if errors:
            raise IterableValidationError(f"a list of {item_kind}", errors, kind)
        return tuple(found)

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
    converter.register_structure_hook_factory(is_dataclass, lambda kind: _fields_of(converter, kind))
    converter.register_structure_hook_factory(
        lambda kind: get_origin(cast(object, kind)) is tuple, lambda kind: _items_of(converter, kind)
    )
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


def structure_json(text: str | bytes, kind: type[T]) -> T:
    """Build a `kind` from JSON, nested however deep. Raises MalformedMessage."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"{kind.__name__}: {error}") from None
    return structure(data, kind)


def dump_json(message: object) -> str:
    """Return the text of a file that holds a message; structure_json() reads it."""
    return json.dumps(unstructure(message), indent=1) + "\n"


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
