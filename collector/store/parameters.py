"""Values of a statement's %(name)s placeholders, handed to ClickHouse as typed server-side parameters.

The text that the parser sees holds only `{name:Type}`; a value travels beside it and is read by the type's
own reader, so no value can become SQL. Servers without such parameters get escaped literals (`literal`).
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fleetprof.errors import InputError

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|(%))")

# Control characters and the two that end or escape a string, for ClickHouse's escaped and quoted readers.
_ESCAPES = {ord(char): f"\\{code}" for char, code in zip("\\'\b\f\r\n\t\0", "\\'bfrnt0", strict=True)}


def typed(sql: str, params: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """`sql` with each %(name)s as `{name:Type}`, and the values as the strings that ClickHouse reads.

    The type follows from the Python value: str, bool, int, float, or a list, tuple, set or numpy array of one
    of them (Array, good for IN). "%%" stands for one "%". Raises KeyError for a placeholder without value,
    TypeError for a value of no such type and InputError for text that is not valid Unicode.
    """
    values: dict[str, str] = {}

    def replace(found: re.Match[str]) -> str:
        if found[2]:
            return "%"
        name = found[1]
        type_, values[name] = _typed_value(params[name])
        return f"{{{name}:{type_}}}"

    return _PLACEHOLDER.sub(replace, sql), values


def with_literals(sql: str, params: Mapping[str, Any]) -> str:
    """`sql` with each %(name)s replaced by an escaped literal, for servers that know no parameters."""
    return _PLACEHOLDER.sub(lambda found: "%" if found[2] else literal(params[found[1]]), sql)


def literal(value: Any) -> str:
    """`value` as a ClickHouse literal; a sequence becomes `(a, b)` as IN wants it."""
    if not _is_sequence(value):
        type_, text = _typed_scalar(value)
        return _quoted(value) if type_ == "String" else text
    items = _items(value)
    if not items:
        return "(NULL)"  # is in nothing, whatever the type; 18.16 has no empty tuple
    return "(" + ", ".join(literal(item) for item in items) + ")"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset | np.ndarray)


def _items(value: Any) -> Sequence[Any]:
    return value.tolist() if isinstance(value, np.ndarray) else list(value)


def _typed_value(value: Any) -> tuple[str, str]:
    if not _is_sequence(value):
        return _typed_scalar(value)
    items = _items(value)
    if not items:
        return "Array(Nothing)", "[]"
    if all(type(item) is int for item in items):
        type_ = "Int64" if min(items) < 0 else "UInt64"
        return f"Array({type_})", str(items)
    types = {_typed_scalar(item)[0] for item in items}
    if len(types) > 1:
        raise TypeError(f"A list parameter mixes types: {sorted(types)}.")
    texts = (_quoted(item) if isinstance(item, str) else _typed_scalar(item)[1] for item in items)
    return f"Array({types.pop()})", "[" + ",".join(texts) + "]"


def _typed_scalar(value: Any) -> tuple[str, str]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return "String", _encodable(value).translate(_ESCAPES)
    if isinstance(value, bool):
        return "UInt8", str(int(value))
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise TypeError(f"A parameter does not fit 64 bits: {value}.")
        return ("Int64" if value < 0 else "UInt64"), str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"A parameter is not a finite number: {value}.")
        return "Float64", repr(value)
    raise TypeError(f"A parameter has no ClickHouse type: {type(value).__name__}.")


def _quoted(text: str) -> str:
    return "'" + _encodable(text).translate(_ESCAPES) + "'"


def _encodable(text: str) -> str:
    """`text`, made sure not to hold half a surrogate pair (JSON's \\ud800), which no database can store."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("A value is not valid Unicode.", "Send text that UTF-8 can encode.") from None
    return text
