"""Answers about stacks: the profile in several formats, and the top table."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from collector.query.flame import build_flame, to_wire
from collector.query.model import Completeness, Json, Profile, Query, TimeRange, TopRow
from collector.query.querier import Querier
from fleetprof.frames import FrameKind
from fleetprof.losses import DropReason

KEPT = 4
KEPT_S = 30.0


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    profile: Profile | None = None
    loaded_at: float = 0.0


class ProfileCache:
    """The last few profiles, so that zooming and downloading do not read the store again.

    Equal questions at the same time read once. A profile is kept for 30 s: late windows change it.
    """

    def __init__(self, load: Callable[[Query], Profile], clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Query, _Entry] = OrderedDict()

    def get(self, query: Query) -> Profile:
        """The profile of `query`, loaded now or up to 30 s ago."""
        with self._lock:
            entry = self._entries.setdefault(query, _Entry())
            self._entries.move_to_end(query)
            while len(self._entries) > KEPT:
                self._entries.popitem(last=False)
        with entry.lock:
            if entry.profile is None or self._clock() - entry.loaded_at > KEPT_S:
                entry.profile = self._load(query)
                entry.loaded_at = self._clock()
            return entry.profile


def profile_json(profile: Profile, min_share: float, root: tuple[str, ...], explanation: str) -> Json:
    """The flame graph's tree with what is known about its quality."""
    return {
        "flame": to_wire(build_flame(profile, min_share, root or None)),
        "range": range_json(profile.query.range),
        "captures": profile.captures,
        "resolution": profile.resolution,
        "exact": profile.exact,
        "completeness": completeness_json(profile.completeness),
        "explanation": explanation,
    }


def completeness_json(completeness: Completeness) -> Json:
    """Windows received and expected, and each loss with its reason in words, most frequent first."""
    losses = sorted(completeness.losses.items(), key=lambda item: -item[1])
    return {
        "share": completeness.share,
        "hosts": completeness.hosts,
        "windows_expected": completeness.windows_expected,
        "windows_received": completeness.windows_received,
        "losses": [
            {"reason": label, "count": count, "explanation": _explain(label)}
            for label, count in losses
            if count
        ],
    }


def _explain(label: str) -> str:
    known = DropReason.__members__.get(label.upper())
    return known.explanation if known else f"Lost for a reason that this version does not know: {label}."


def range_json(range: TimeRange) -> Json:
    """The absolute range, Unix seconds."""
    return {"start_s": range.start_s, "end_s": range.end_s}


def top_json(querier: Querier, query: Query, limit: int, sort: str) -> Json:
    """Functions with their own and their total time."""
    rows, total = querier.top(query, limit, "total" if sort == "total" else "self")
    return {
        "range": range_json(query.range),
        "unit": query.selection.unit,
        "total": total,
        "rows": [_row_json(row) for row in rows],
    }


def _row_json(row: TopRow) -> Json:
    frame = row.frame
    is_label = frame.kind is FrameKind.LABEL
    return {
        "name": frame.name,
        "kind": frame.kind.name.lower() if frame.function or is_label else "unknown",
        "mapping": frame.mapping,
        "location": f"{frame.file}:{frame.line}" if frame.file and frame.line else frame.file,
        "self": row.self_value,
        "total": row.total_value,
    }
