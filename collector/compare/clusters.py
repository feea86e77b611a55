"""What varies: which hosts stand on each side, how long each ran the selection, and what the clusters are.

Hosts are the clusters where both sides have enough of them: what differs between hosts decides whether a
change is more than chance, however many samples each has. With fewer, slices of time within the hosts are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.compare.activity import bounds_by
from collector.compare.part import Part
from collector.compare.units import Clusters
from collector.query.asking import Asking
from collector.query.sources import VOUCHED, Binds, Segment, rows_time
from collector.query.together import Owned, answered_together, any_hosts_condition, of_hosts, rows_where
from fleetprof.profile_types import WINDOW_NS

I64 = npt.NDArray[np.int64]

WINDOW_S = WINDOW_NS // 1_000_000_000
MIN_HOSTS = 5
"""On each side, for hosts to be the clusters. Below, tests of thousands of functions have no power."""
KNOWN_SHARE = 0.8
"""Of a side's hosts, that must have a history for it to be used."""
SLICES = 40
"""So many slices a side are aimed at."""
MIN_SLICES = 4


@dataclass(frozen=True, slots=True)
class Presence:
    """A host that ran a selection: first and last window with samples, and what it reported in between."""

    first_s: int
    last_s: int
    windows: I64
    """Starts of windows, Unix seconds, ascending."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The clusters of a comparison: hosts, or slices of `slice_s` seconds within hosts."""

    kind: Clusters
    slice_s: int

    def bucket(self, seconds: I64) -> I64:
        """The slice (its start) that each time falls into; 0 when clusters are hosts."""
        return seconds // self.slice_s * self.slice_s if self.slice_s else np.zeros_like(seconds)

    def bucket_sql(self, binds: Binds) -> str:
        """The same for `ts` in SQL, as a key."""
        if not self.slice_s:
            return "toUInt32(0) AS bucket"
        step = f"toUInt32({binds.add(self.slice_s)})"
        return f"intDiv(toUInt32(ts), {step}) * {step} AS bucket"

    def keys(self, presence: dict[str, Presence]) -> dict[tuple[str, int], float]:
        """(host, slice) → seconds for which the host reported, over the time it ran the selection."""
        if not self.slice_s:
            return {(host, 0): float(len(there.windows) * WINDOW_S) for host, there in presence.items()}
        found: dict[tuple[str, int], float] = {}
        for host, there in presence.items():
            buckets, counts = np.unique(self.bucket(there.windows), return_counts=True)
            for bucket, count in zip(buckets.tolist(), counts.tolist(), strict=True):
                found[host, bucket] = float(count * WINDOW_S)
        return found


def load_presence(asking: Asking, parts: Sequence[Part], owned: Sequence[Owned]) -> list[dict[str, Presence]]:
    """The hosts with samples in what is read of each selection, and when; `owned`: the selections' series."""

    def answer(places: list[int]) -> Iterable[dict[str, Presence]]:
        some = [parts[place] for place in places]
        lives = _load_lives(asking, some, [owned[place] for place in places])
        windows = _load_windows(asking, some)
        for part, life in zip(some, lives, strict=True):
            yield {host: _presence(part, windows.get(host), life[host]) for host in sorted(life)}

    return answered_together([part.query for part in parts], answer)


def _presence(part: Part, windows: I64 | None, life: tuple[int, int]) -> Presence:
    first, last = life
    reported = np.zeros(0, np.int64) if windows is None else windows
    reported = reported[(reported >= first) & (reported <= last)]
    if not len(reported):  # values without windows (imported profiles): take the time to be covered
        reported = part.inside(np.arange(first, last + 1, WINDOW_S, dtype=np.int64))
    return Presence(first, last, reported)


def _load_lives(asking: Asking, parts: list[Part], owned: list[Owned]) -> list[dict[str, tuple[int, int]]]:
    """For each part: host → start of its first and of its last window with samples."""
    if known := [part.activity for part in parts if part.activity is not None]:
        return [{host: (each.first_s, each.last_s) for host, each in hosts.items()} for hosts in known]
    queries = [part.query for part in parts]
    binds = Binds()
    where = rows_where(queries, Segment("samples", queries[0].range), binds)
    rows = asking.ask(
        "SELECT series, toUInt32(min(ts)) AS first_s, toUInt32(max(ts)) AS last_s "
        f"FROM samples {where} GROUP BY series",
        binds,
    )
    lives = []
    for each in owned:
        mine, host = of_hosts(rows["series"], each)
        first, last = bounds_by(host, rows["first_s"][mine], rows["last_s"][mine], len(each.hosts))
        there = np.unique(host).tolist()
        lives.append({each.hosts[place]: (int(first[place]), int(last[place])) for place in there})
    return lives


def _load_windows(asking: Asking, parts: list[Part]) -> dict[str, I64]:
    """Host → starts of the windows that it reported in what is read, ascending, each once."""
    queries = [part.query for part in parts]
    binds = Binds()
    when = rows_time("windows", parts[0].runs, binds)
    found = asking.ask(
        "SELECT host, groupUniqArray(toUInt32(ts)) AS starts FROM windows "
        f"WHERE {when} AND {VOUCHED} AND {any_hosts_condition(queries, binds)} "
        "GROUP BY host",
        binds,
    )
    return {
        str(host): np.sort(np.asarray(starts).astype(np.int64))
        for host, starts in zip(found["host"], found["starts"], strict=True)
    }


def choose_layout(a: dict[str, Presence], b: dict[str, Presence]) -> Layout:
    """Hosts where both sides have `MIN_HOSTS`, else slices of time."""
    if min(len(a), len(b)) >= MIN_HOSTS:
        return Layout("hosts", 0)
    windows = min(sum(len(there.windows) for there in side.values()) for side in (a, b))
    slice_windows = max(-(-windows // SLICES), 1)
    return Layout("time slices", slice_windows * WINDOW_S)


def knows(history: dict[str, Presence], side: dict[str, Presence]) -> bool:
    """Whether a side's hosts ran the history, so that how they differed anyway can be told from it.

    The few that did not are noise; with more of them, the history of the others would say little.
    """
    return len(history.keys() & side.keys()) >= max(MIN_HOSTS, KNOWN_SHARE * len(side))


def is_concurrent(a: dict[str, Presence], b: dict[str, Presence]) -> bool:
    """Whether most of the shorter side's time lies within the other's."""
    if not a or not b:
        return False
    bounds = [(min(t.first_s for t in s.values()), max(t.last_s for t in s.values())) for s in (a, b)]
    shared = min(bounds[0][1], bounds[1][1]) - max(bounds[0][0], bounds[1][0])
    return shared >= 0.5 * min(last - first for first, last in bounds) and shared >= 0
