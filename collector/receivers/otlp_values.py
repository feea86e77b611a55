"""Values of OTLP attributes as texts. In profiles, keys and texts may be places in the dictionary's strings."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MAX_TEXT = 4096
"""Longest text of one attribute, in characters; longer ones are cut."""


def attribute_pairs(attributes: Iterable[KeyValue], strings: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """(key, text) of each attribute; IndexError for a text that is not in `strings`."""
    for each in attributes:
        key = each.key or (_at(strings, each.key_strindex) if each.key_strindex else "")
        if key:
            yield key, value_text(each.value, strings)


def value_text(value: AnyValue, strings: Sequence[str] = ()) -> str:
    """A value as text: texts as they are, true and false, numbers, JSON of lists and maps, hex of bytes."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value[:MAX_TEXT]
    plain = _plain(value, strings)
    if plain is None:
        return ""
    if isinstance(plain, str):
        return plain[:MAX_TEXT]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))[:MAX_TEXT]


def _plain(value: AnyValue, strings: Sequence[str]) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each, strings) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: _plain(each.value, strings) for each in value.kvlist_value.values}
    if kind == "bytes_value":
        return value.bytes_value[:MAX_TEXT].hex()
    if kind == "string_value_strindex":
        return _at(strings, value.string_value_strindex)
    return getattr(value, kind) if kind else None


def _at(strings: Sequence[str], place: int) -> str:
    if place < 0:
        raise IndexError(place)
    return strings[place]
