"""Decodes the definitions that a request carries: frames, stacks and series under ids computed here.

Ids are never taken from the sender, so a definition cannot claim to be something else.
"""

import re
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from collector.ingest.definitions import Defined, Series, Stack, packed_stack, shown
from collector.ingest.interned import FrameFields, Identified, Interned
from collector.ingest.limits import Limits
from collector.ingest.packed import parse_definitions
from collector.ingest.refusal import Refused, malformed
from collector.ingest.varint import BadVarint, decode_varints, signed
from collector.ingest.window import U64
from collector.ingest.wire_numbers import NOBODY, Sender, WireNumbers
from fleetprof.frames import Frame, FrameKind, frame_id, packed_stack_id
from fleetprof.losses import DropReason
from fleetprof.series import LABEL_NAME, MAX_LABEL_VALUE_BYTES, series_id

_KINDS = {int(kind): kind for kind in FrameKind}
_BUILD_ID = re.compile(r"[0-9a-f]{0,128}")
_ID_BYTES = 8
_UINT32 = 1 << 32
_TEXTS = ("function", "mapping", "build_id", "file")
_COLUMNS = {
    "frames": ("kind", *_TEXTS, "offset", "line"),
    "stacks": ("depth", "frame_index"),
    "series": ("label_count", "label_index"),
}

_Columns = dict[str, U64]


def decode_definitions(
    data: bytes,
    limits: Limits,
    sender: Sender = NOBODY,
    numbers: WireNumbers | None = None,
    interned: Interned | None = None,
) -> Defined:
    """All definitions of a request (a Definitions); raises Refused when one breaks the contract or a limit.

    `numbers` are those of the sender's frames; NumbersLost is raised for one that means nothing here.
    """
    try:
        message = parse_definitions(data)
    except DecodeError:
        raise malformed("The request's definitions are not a fleetprof.v1.Definitions.") from None
    strings = list(message.strings)
    _check_strings(strings, limits)
    columns, interned = _decode_columns(message), interned or Interned()
    named = _frames(columns, strings, limits, interned)
    steps = signed(columns["frame_numbers"])
    if len(steps) > limits.frames:
        raise Refused(DropReason.STACK_LIMIT, f"The request names more than {limits.frames} frames.")
    listed = np.array([number for number, _ in named], "<u8").tobytes()
    numbers = numbers or WireNumbers()
    packed = numbers.take(sender, steps, message.first_frame_number, listed, message.frame_check)
    return Defined(dict(named), _stacks(columns, packed, limits, interned), _series(columns, strings, limits))


def _decode_columns(message: Any) -> _Columns:
    """All columns of numbers, by name; no two tables have one of the same name."""
    pieces = {
        name: b"".join(getattr(getattr(message, table), name))
        for table, names in _COLUMNS.items()
        for name in names
    }
    pieces["frame_numbers"] = b"".join(message.frame_numbers)
    try:
        found, counts = decode_varints(list(pieces.values()))
    except BadVarint:
        raise malformed("A column of the definitions is cut off inside a number.") from None
    return dict(zip(pieces, np.split(found, counts.cumsum()[:-1]), strict=True))


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


def _picked(strings: list[str], places: U64) -> list[str]:
    """The string of each index; raises Refused for one outside the table."""
    if len(places) and places.max() >= len(strings):
        raise malformed("A definition refers to a string that is not there.")
    return [strings[place] for place in places.tolist()]


def _frames(columns: _Columns, strings: list[str], limits: Limits, interned: Interned) -> list[Identified]:
    """The frames in the table's order, each behind its id."""
    count = len(columns["kind"])
    if any(len(columns[name]) != count for name in _COLUMNS["frames"]):
        raise malformed("The columns of definitions.frames differ in length.")
    if count > limits.frames:
        raise Refused(
            DropReason.STACK_LIMIT, f"The request defines {count} frames; the limit is {limits.frames}."
        )
    if columns["line"].max(initial=0) >= _UINT32:
        raise malformed("A frame's line is out of range.")
    texts = {name: _picked(strings, columns[name]) for name in _TEXTS}
    numbers = {name: columns[name].tolist() for name in ("kind", "offset", "line")}
    ordered = ((numbers | texts)[name] for name in Frame._fields)
    return interned.frames.of_all(list(zip(*ordered, strict=True)), _frame)


def _frame(fields: FrameFields) -> Identified:
    kind, _, _, build_id, *_ = fields
    if kind not in _KINDS or not _BUILD_ID.fullmatch(build_id):
        raise malformed("A frame has an unknown kind or a build id that is not lower-case hex.")
    frame = Frame(_KINDS[kind], *fields[1:])
    return frame_id(frame), frame


def _stacks(columns: _Columns, frame_ids: bytes, limits: Limits, interned: Interned) -> dict[int, Stack]:
    """The stacks by id; `frame_ids` are those that they refer to, packed."""
    depths, places = columns["depth"], columns["frame_index"]
    if len(depths) > limits.stacks:
        raise Refused(
            DropReason.STACK_LIMIT, f"The request defines {len(depths)} stacks; the limit is {limits.stacks}."
        )
    if depths.max(initial=0) > limits.depth:
        raise Refused(
            DropReason.STACK_LIMIT,
            f"A stack has {depths.max()} frames; this collector takes up to {limits.depth}.",
        )
    if depths.sum() != len(places):
        raise malformed("definitions.stacks.depth does not fit its frame_index.")
    if len(places) and places.max() >= len(frame_ids) // _ID_BYTES:
        raise malformed("A stack refers to a frame that is not there.")
    frames = np.frombuffer(frame_ids, "<u8")[places.astype(np.int64)].tobytes()
    ends = (depths.cumsum() * np.uint64(_ID_BYTES)).tolist()
    own = [frames[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return dict(interned.stacks.of_all(own, _stack))


def _stack(frame_ids: bytes) -> tuple[int, Stack]:
    return packed_stack_id(frame_ids), packed_stack(frame_ids)


def _series(columns: _Columns, strings: list[str], limits: Limits) -> dict[int, Series]:
    counts = columns["label_count"]
    if len(counts) > limits.series or counts.max(initial=0) > limits.labels:
        raise Refused(DropReason.SERIES_LIMIT, "The request defines too many series or labels.")
    if 2 * int(counts.sum()) != len(columns["label_index"]):
        raise malformed("definitions.series.label_count does not fit its label_index.")
    texts = _picked(strings, columns["label_index"])
    found, start = {}, 0
    for count in counts.tolist():
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
