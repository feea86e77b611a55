"""A Push request read twice: by our own admission, and plainly as the message it is."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from collector.ingest.admission import admit, receive
from collector.ingest.decode_definitions import Encoded, Faults, decode_definitions
from collector.ingest.definitions import Defined, shown
from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused
from collector.ingest.rows import decode_rows
from collector.ingest.window import Sender, Window
from collector.ingest.wire_numbers import WireNumbers
from fleetprof.v1 import ingest_pb2
from tests.fuzz.seeds import NOW_S, held_ids
from tests.fuzz.subject import Wrong

LIMITS = Limits()
SEEDS_SENDER = Sender("agent-1", 7)


class Admitted(NamedTuple):
    """What one window holds."""

    sums: Counter[int]
    """Profile type → value."""
    rows: int
    names: set[str]
    """Functions, mappings, files, build ids."""
    values: set[str]
    """Of labels."""


def admitted(data: bytes) -> Admitted:
    """The window of a Push request; raises Refused, and NumbersLost where it is to be sent again by name."""
    window = window_of(data)
    rows, refused = decode_rows([window], LIMITS)
    if refused:
        raise refused[0]
    return names_of(window)._replace(sums=sums_of(rows.type.tolist(), rows.value.tolist()), rows=window.rows)


def window_of(data: bytes) -> Window:
    """The window as it is queued, its columns not yet decoded; raises as `admitted`."""
    request = receive(data, LIMITS)
    numbered = bool(request.window.stack_numbers)
    return admit(request, LIMITS, NOW_S, _held() if numbered else None)


def names_of(window: Window) -> Admitted:
    """The texts of a window, without its rows."""
    defined, faults = _defined([window])
    for why in faults.values():
        raise why
    frames = defined.frames.values()
    names = {shown(name) for f in frames for name in (f.function, f.mapping, f.file, f.build_id)}
    values = {value for each in defined.series.values() for value in each.labels.values()}
    return Admitted(Counter(), 0, names, values)


def _defined(windows: Iterable[Window]) -> tuple[Defined, Faults]:
    """What windows define, each as if it were its sender's next one."""
    encoded, numbers = list[Encoded](), WireNumbers()
    for place, window in enumerate(windows):
        sender = Sender(f"{window.key.agent_id}/{place}", window.key.run_id)
        if window.key.sender == SEEDS_SENDER:
            _hold(numbers, sender, held_ids()[1])
        encoded.append(Encoded(window.definitions, sender))
    return decode_definitions(encoded, LIMITS, numbers)


def plain(data: bytes) -> Admitted:
    """A Push request that one of our own translators wrote, without asking whether it may be admitted."""
    request = ingest_pb2.PushRequest.FromString(data)
    samples, strings = request.window.samples, request.definitions.strings
    frames = request.definitions.frames
    columns = (frames.function, frames.mapping, frames.file, frames.build_id)
    names = {shown(strings[place]) for column in columns for place in column}
    values = {shown(strings[place]) for place in request.definitions.series.label_index[1::2]}
    return Admitted(sums_of(samples.type, samples.value), len(samples.value), names, values)


def sums_of(types: Iterable[int], values: Iterable[int]) -> Counter[int]:
    """Profile type → sum."""
    sums: Counter[int] = Counter()
    for type_, value in zip(types, values, strict=True):
        sums[type_] += value
    return sums


def _held() -> WireNumbers:
    """The numbers of stacks of the seeds' sender."""
    numbers = WireNumbers()
    _hold(numbers, SEEDS_SENDER, held_ids()[0])
    return numbers


def _hold(numbers: WireNumbers, sender: Sender, ids: Sequence[int]) -> None:
    numbers.take(sender, np.empty(0, np.int64), 1, np.array(ids, "<u8").tobytes(), 0)


class Batches:
    """Windows decoded many at a time, as the collector does it, each compared with what its request says."""

    SIZE = 128

    def __init__(self) -> None:
        self._waiting: list[tuple[bytes, Window]] = []

    def add(self, data: bytes, window: Window) -> None:
        """Take a window that was admitted; may raise for any of the last ones."""
        self._waiting.append((data, window))
        if len(self._waiting) >= self.SIZE:
            self.settle()

    def settle(self) -> None:
        """Decode what waits; raises Wrong where rows are not those that were sent."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        windows = [window for _, window in waiting]
        _check_definitions(windows)
        rows, refused = decode_rows(windows, LIMITS)
        good = [data for place, (data, _) in enumerate(waiting) if place not in refused]
        ends = rows.counts.cumsum().tolist()
        types, values = rows.type.tolist(), rows.value.tolist()
        for data, start, end in zip(good, [0, *ends[:-1]], ends, strict=True):
            sent = ingest_pb2.PushRequest.FromString(data).window.samples
            if [*sent.type] != types[start:end] or [*sent.value] != values[start:end]:
                raise Wrong(f"Rows {types[start:end]} {values[start:end]} were made of {data!r}")
        if refused and [place for place in refused if not _is_refused(waiting[place][1])]:
            raise Wrong("A window is refused among others, but not alone")


def _check_definitions(windows: Sequence[Window]) -> None:
    """Raises Wrong where windows define other things together than one by one."""
    whole, faults = _defined(windows)
    alone = Defined()
    for place, window in enumerate(windows):
        found, why = _defined([window])
        if bool(why) != (place in faults):
            raise Wrong(f"{window.definitions!r} is understood either alone or among others")
        for kind in ("frames", "stacks", "series"):
            getattr(alone, kind).update(getattr(found, kind))
    if whole != alone:
        raise Wrong("Windows define other things together than alone")


def _is_refused(window: Window) -> bool:
    try:
        return bool(decode_rows([window], LIMITS)[1])
    except Refused:
        return True
