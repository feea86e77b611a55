"""Definitions that a request carries, decoded: frames, stacks and series under ids computed here.

Ids are never taken from the sender, so a definition cannot claim to be something else.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused, malformed
from collector.ingest.wire_numbers import I64, NOBODY, Sender, WireNumbers
from fleetprof.frames import Frame, FrameKind, frame_id, packed_stack_id
from fleetprof.losses import DropReason
from fleetprof.series import LABEL_NAME, MAX_LABEL_VALUE_BYTES, series_id
from fleetprof.v1 import ingest_pb2

_KINDS = {int(kind): kind for kind in FrameKind}
_BUILD_ID = re.compile(r"[0-9a-f]{0,128}")
_ID_BYTES = 8
_CONTROL = dict.fromkeys((*range(32), 127), "�")


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack's frame ids as packed little-endian uint64s."""

    frames: bytes
    """All, leaf first."""
    functions: bytes
    """Each once, the leaf first: what a recursive function's total counts."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series' labels, fit to be stored and shown."""

    id: int
    labels: dict[str, str]

    def label(self, name: str) -> str:
        """The label's value, "" when absent."""
        return self.labels.get(name, "")


@dataclass(frozen=True, slots=True)
class Defined:
    """What one request defines, by id."""

    frames: dict[int, Frame] = field(default_factory=dict)
    stacks: dict[int, Stack] = field(default_factory=dict)
    series: dict[int, Series] = field(default_factory=dict)


EMPTY_STACK = Stack(b"", b"")


def make_stack(frame_ids: Sequence[int]) -> Stack:
    """The stack of these frame ids, leaf first."""
    frames = struct.pack(f"<{len(frame_ids)}Q", *frame_ids)
    distinct = dict.fromkeys(frame_ids)
    if len(distinct) == len(frame_ids):
        return Stack(frames, frames)
    return Stack(frames, struct.pack(f"<{len(distinct)}Q", *distinct))


def shown(text: str) -> str:
    """`text` without control characters, which no page or terminal should print."""
    return text if text.isprintable() else text.translate(_CONTROL)


def decode_definitions(
    message: ingest_pb2.Definitions,
    limits: Limits,
    sender: Sender = NOBODY,
    numbers: WireNumbers | None = None,
) -> Defined:
    """All definitions of a request; raises Refused when one breaks the contract or a limit.

    `numbers` are those of the sender's frames; NumbersLost is raised for one that means nothing here.
    """
    strings = list(message.strings)
    _check_strings(strings, limits)
    named, frames = _frames(message.frames, strings, limits)
    if len(message.frame_numbers) > limits.frames:
        raise Refused(DropReason.STACK_LIMIT, f"The request names more than {limits.frames} frames.")
    listed = struct.pack(f"<{len(named)}Q", *named)
    steps = np.array(message.frame_numbers, np.int64)
    numbers = numbers or WireNumbers()
    packed = numbers.take(sender, steps, message.first_frame_number, listed, message.frame_check)
    return Defined(frames, _stacks(message.stacks, packed, limits), _series(message.series, strings, limits))


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


def _picked(strings: list[str], places: Any) -> list[str]:
    """The string of each index; raises Refused for one outside the table."""
    try:
        return [strings[place] for place in places]
    except IndexError:
        raise malformed("A definition refers to a string that is not there.") from None


def _frames(
    table: ingest_pb2.FrameTable, strings: list[str], limits: Limits
) -> tuple[list[int], dict[int, Frame]]:
    """Ids in the table's order, and id → frame."""
    columns = (table.function, table.mapping, table.build_id, table.offset, table.file, table.line)
    count = len(table.kind)
    if any(len(column) != count for column in columns):
        raise malformed("The columns of definitions.frames differ in length.")
    if count > limits.frames:
        raise Refused(
            DropReason.STACK_LIMIT, f"The request defines {count} frames; the limit is {limits.frames}."
        )
    names = (
        _picked(strings, column) for column in (table.function, table.mapping, table.build_id, table.file)
    )
    ids, frames = [], {}
    for kind, function, mapping, build_id, file, offset, line in zip(
        table.kind, *names, table.offset, table.line, strict=True
    ):
        if kind not in _KINDS or not _BUILD_ID.fullmatch(build_id):
            raise malformed("A frame has an unknown kind or a build id that is not lower-case hex.")
        frame = Frame(_KINDS[kind], function, mapping, build_id, offset, file, line)
        ids.append(number := frame_id(frame))
        frames[number] = frame
    return ids, frames


def _stacks(table: ingest_pb2.StackTable, frame_ids: bytes, limits: Limits) -> dict[int, Stack]:
    """The stacks by id; `frame_ids` are those that they refer to, packed."""
    depths = np.fromiter(table.depth, np.int64, len(table.depth))
    if len(depths) > limits.stacks:
        raise Refused(
            DropReason.STACK_LIMIT, f"The request defines {len(depths)} stacks; the limit is {limits.stacks}."
        )
    if depths.sum() != len(table.frame_index):
        raise malformed("definitions.stacks.depth does not fit its frame_index.")
    if depths.max(initial=0) > limits.depth:
        raise Refused(
            DropReason.STACK_LIMIT,
            f"A stack has {depths.max()} frames; this collector takes up to {limits.depth}.",
        )
    places = np.fromiter(table.frame_index, np.int64, len(table.frame_index))
    if places.max(initial=-1) >= len(frame_ids) // _ID_BYTES:
        raise malformed("A stack refers to a frame that is not there.")
    ids = np.frombuffer(frame_ids, "<u8")[places]
    first, kept = _first_times(places, depths)
    frames, functions = ids.tobytes(), ids[first].tobytes()
    stacks, start, start_functions = {}, 0, 0
    ends = (each.cumsum() * _ID_BYTES for each in (depths, kept))
    for end, end_functions in zip(*(each.tolist() for each in ends), strict=True):
        own = frames[start:end]
        recursive = end - start > end_functions - start_functions
        stacks[packed_stack_id(own)] = Stack(
            own, functions[start_functions:end_functions] if recursive else own
        )
        start, start_functions = end, end_functions
    return stacks


def _first_times(places: I64, depths: I64) -> tuple[npt.NDArray[np.bool_], I64]:
    """Where a frame is for the first time in its stack, and how many such places each stack has."""
    owners = np.repeat(np.arange(len(depths)), depths)
    keys = owners << 32 | places
    order = np.argsort(keys, kind="stable")
    again = order[1:][np.diff(keys[order]) == 0]
    first = np.ones(len(places), np.bool_)
    first[again] = False
    return first, depths - np.bincount(owners[again], minlength=len(depths))


def _series(table: ingest_pb2.SeriesTable, strings: list[str], limits: Limits) -> dict[int, Series]:
    counts = list(table.label_count)
    if len(counts) > limits.series or max(counts, default=0) > limits.labels:
        raise Refused(DropReason.SERIES_LIMIT, "The request defines too many series or labels.")
    if 2 * sum(counts) != len(table.label_index):
        raise malformed("definitions.series.label_count does not fit its label_index.")
    texts = _picked(strings, table.label_index)
    found, start = {}, 0
    for count in counts:
        pairs = texts[start : start + 2 * count]
        start += 2 * count
        labels = _labels(pairs[::2], pairs[1::2])
        number = series_id(labels)
        found[number] = Series(number, {name: shown(value) for name, value in labels.items() if value})
    return found


def _labels(names: list[str], values: list[str]) -> dict[str, str]:
    labels = dict(zip(names, values, strict=True))
    if len(labels) != len(names):
        raise malformed("A series has a label twice.")
    for name, value in labels.items():
        if not LABEL_NAME.match(name):
            raise malformed("A label's name is not [a-zA-Z_][a-zA-Z0-9_]* of up to 64 characters.")
        if len(value.encode("utf-8")) > MAX_LABEL_VALUE_BYTES:
            raise malformed(f"A label's value is longer than {MAX_LABEL_VALUE_BYTES} bytes.")
    return labels
