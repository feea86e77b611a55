"""Where inside functions time was spent: what a window's `places` say, and the rows of table places.

Few senders have any, and few each: they are decoded window by window when they are admitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from collector.ingest.limits import Limits
from collector.ingest.refusal import malformed
from collector.ingest.window import I64, U64, Columns
from collector.ingest.words import words
from collector.receivers.unpack import check_parts, shape_of
from fleetprof.profile_types import ProfileType
from fleetprof.v1 import ingest_pb2

if TYPE_CHECKING:
    from collector.ingest.batch import Batch

_SHAPE = shape_of(ingest_pb2.Places.DESCRIPTOR)
_LONGEST_BUILD_ID = 64
"""Bytes."""
_LARGEST = 1 << 63


@dataclass(frozen=True, slots=True)
class Places:
    """A window's places, as columns of equal length."""

    build_ids: list[str]
    series: U64
    """Ids, of series that the window lists."""
    stack: U64
    """Ids, of stacks that the window lists; the leaf of each is the function."""
    build: I64
    """Place in `build_ids`."""
    offset: U64
    value: U64

    def __len__(self) -> int:
        return len(self.value)


def decode_places(data: bytes, columns: Columns, limits: Limits) -> Places | None:
    """What a window's `places` say, None without any; `columns` are the window's. Raises Refused."""
    if not data:
        return None
    check_parts(data, _SHAPE)
    try:
        message = ingest_pb2.Places.FromString(data)
    except DecodeError:
        raise malformed("The window's places are not a fleetprof.v1.Places.") from None
    if len(message.value) > limits.places:
        raise malformed(f"The window has {len(message.value)} places; this collector takes {limits.places}.")
    found = Places(
        _build_ids(message.build_ids),
        _picked(columns.series_ids, _column(message.series, message)),
        _picked(columns.stack_ids, _column(message.stack_steps, message).cumsum()),
        _column(message.build, message),
        _column(message.offset_steps, message).cumsum().astype(np.uint64),
        _column(message.value, message).astype(np.uint64),
    )
    if (found.build >= len(found.build_ids)).any() or (found.offset >= _LARGEST).any():
        raise malformed("A place is in no build, or at no offset.")
    if (found.value > limits.value).any():
        raise malformed(f"A place's value is larger than {limits.value}.")
    return found


def _column(numbers: Sequence[int], message: ingest_pb2.Places) -> I64:
    if len(numbers) != len(message.value):
        raise malformed("The columns of window.places differ in length.")
    try:
        return np.fromiter(numbers, np.int64, len(numbers))
    except OverflowError:
        raise malformed("A number of window.places is out of range.") from None


def _build_ids(texts: Sequence[bytes]) -> list[str]:
    if any(not 0 < len(text) <= _LONGEST_BUILD_ID for text in texts):
        raise malformed("A place's build id is empty or too long.")
    return [text.hex() for text in texts]


def _picked(listed: bytes, places: I64) -> U64:
    """The ids at these places of those that the window lists."""
    ids = np.frombuffer(listed, "<u8")
    if len(places) and not (places.min() >= 0 and places.max() < len(ids)):
        raise malformed("A place refers to a series or stack that the window does not list.")
    return ids[places]


def places_block(batch: "Batch") -> dict[str, Any]:
    """The rows of table places of a batch's windows, in its order."""
    some = [(window.start_s, window.places) for window in batch.windows if window.places]
    if not some:
        return dict.fromkeys(("ts", "service", "type", "func", "series", "build_id", "offset", "value"), ())
    leaf = {
        id_: int.from_bytes(stack.frames[:8], "little")
        for id_, stack in zip(batch.stack_ids.tolist(), batch.all_stacks, strict=True)
    }
    service = {
        id_: series.label("service")
        for id_, series in zip(batch.series_ids.tolist(), batch.all_series, strict=True)
    }
    series = _joined([places.series for _, places in some], np.uint64)
    services = [service[id_] for id_ in series.tolist()]
    stacks = _joined([places.stack for _, places in some], np.uint64)
    func = np.array([leaf[id_] for id_ in stacks.tolist()], np.uint64)
    builds = [places.build_ids[code] for _, places in some for code in places.build.tolist()]
    block: dict[str, npt.NDArray[Any]] = {
        "ts": np.repeat(
            np.array([start_s for start_s, _ in some], np.uint32), [len(places) for _, places in some]
        ),
        "func": func,
        "series": series,
        "offset": _joined([places.offset for _, places in some], np.uint64),
        "value": _joined([places.value for _, places in some], np.uint64),
    }
    order = np.flatnonzero((func > 0) & (block["value"] > 0))
    kept: dict[str, Any] = {name: column[order] for name, column in block.items()}
    rows = order.tolist()
    return kept | {
        "service": _texts([services[row] for row in rows]),
        "build_id": _texts([builds[row] for row in rows]),
        "type": _texts([ProfileType.CPU.label] * len(rows)),
    }


def _joined(columns: list[npt.NDArray[Any]], kind: type) -> npt.NDArray[Any]:
    return np.concatenate(columns) if columns else np.empty(0, kind)


def _texts(texts: list[str]) -> Any:
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(text, len(places)) for text in texts], np.int64)
    return words(codes, list(places))
