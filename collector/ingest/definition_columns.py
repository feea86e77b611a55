"""The columns and strings of many requests' definitions, as if they were one's."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from collector.ingest.limits import Limits
from collector.ingest.packed import parse_definitions
from collector.ingest.refusal import Refused, malformed
from collector.ingest.several import places_of_all, sums_before
from collector.ingest.varint import BadVarint, decode_varints
from collector.ingest.window import I64, U64
from fleetprof.losses import DropReason

_TABLES = {
    "frames": ("kind", "function", "mapping", "build_id", "offset", "file", "line"),
    "stacks": ("depth", "frame_index"),
    "series": ("label_count", "label_index"),
}
_NAMES = [*(name for names in _TABLES.values() for name in names), "frame_numbers"]


class Request(NamedTuple):
    """One request's definitions: what is not a column, and its columns as they came."""

    strings: list[str]
    first_frame_number: int
    frame_check: int
    columns: list[bytes]
    """In the order of `_NAMES`; no two tables have one of the same name."""


class Column(NamedTuple):
    """A column of numbers of all requests, one after the other."""

    numbers: U64
    counts: I64
    """How many are each request's."""

    def sums(self) -> I64:
        """The sum of each request's; the numbers are small."""
        before, ends = sums_before(self.numbers), self.counts.cumsum()
        sums: I64 = before[ends] - before[ends - self.counts]
        return sums

    def shifted(self, lengths: I64, why: str) -> I64:
        """Places in the lists of all requests, of places in each one's, which has `lengths` items.

        Raises Refused, because of `why`, for a place that is not there.
        """
        return places_of_all(self.numbers, self.counts, lengths, why)


Columns = Mapping[str, Column]


class Texts:
    """The strings of all requests."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._lengths = np.array([len(request.strings) for request in requests], np.int64)
        self._all = [text for request in requests for text in request.strings]

    def picked(self, column: Column) -> list[str]:
        """The string of each index; raises Refused for one outside its request's table."""
        places = column.shifted(self._lengths, "A definition refers to a string that is not there.")
        return list(map(self._all.__getitem__, places.tolist()))


def read_requests(encoded: Sequence[bytes], limits: Limits) -> list[Request]:
    """The requests, each a fleetprof.v1.Definitions or empty; raises Refused."""
    return [_read(data, limits) if data else _NOTHING for data in encoded]


_NOTHING = Request([], 0, 0, [b""] * len(_NAMES))


def _read(data: bytes, limits: Limits) -> Request:
    try:
        message = parse_definitions(data)
    except DecodeError:
        raise malformed("The request's definitions are not a fleetprof.v1.Definitions.") from None
    strings = list(message.strings)
    _check_strings(strings, limits)
    columns = [b"".join(getattr(table, name)) for table, name in _columns(message)]
    return Request(strings, message.first_frame_number, message.frame_check, columns)


def _columns(message: Any) -> list[tuple[Any, str]]:
    inside = [(getattr(message, table), name) for table, names in _TABLES.items() for name in names]
    return [*inside, (message, "frame_numbers")]


def _check_strings(strings: list[str], limits: Limits) -> None:
    if strings and strings[0]:
        raise malformed("definitions.strings must begin with the empty string.")
    longest = max(map(len, strings), default=0)
    if longest * 4 > limits.string_bytes:  # else even 4 bytes a character fit
        longest = max(len(text.encode("utf-8")) for text in strings)
        if longest > limits.string_bytes:
            raise Refused(
                DropReason.TOO_LARGE,
                f"A string has {longest} bytes; this collector takes up to {limits.string_bytes}.",
            )


def read_columns(requests: Sequence[Request]) -> Columns:
    """All columns of numbers, by name; raises Refused for one that is cut off."""
    pieces = [request.columns[place] for place in range(len(_NAMES)) for request in requests]
    try:
        numbers, counts = decode_varints(pieces)
    except BadVarint:
        raise malformed("A column of the definitions is cut off inside a number.") from None
    of_column = counts.reshape(len(_NAMES), len(requests))
    parts = np.split(numbers, of_column.sum(axis=1).cumsum()[:-1])
    return {name: Column(part, each) for name, part, each in zip(_NAMES, parts, of_column, strict=True)}
