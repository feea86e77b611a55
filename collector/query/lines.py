"""Values over time, whole or by a label, with gaps where no selected host reported."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from collector.query.asking import Asking
from collector.query.model import Query, SeriesAnswer, SeriesPoints
from collector.query.segments import total_segments
from collector.query.sources import (
    MINUTE_S,
    Binds,
    Segment,
    hosts_condition,
    label_sql,
    resolution_of,
    series_sql,
    time_condition,
    union_sql,
)
from fleetprof.errors import InputError
from fleetprof.series import LABEL_NAME

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

OTHER_LABEL = "(other)"
MAX_STEPS = 11_000


def load_series(asking: Asking, query: Query, step_s: int, group_by: str | None, limit: int) -> SeriesAnswer:
    """One line, or one a value of `group_by`: the `limit` largest, and "(other)" for the sum of the rest.

    Steps start at multiples of `step_s`; the first and last hold only what lies inside the range.
    Raises InputError for a step that is no multiple of 10 s or gives over 11,000 points, or a bad label.
    """
    check_steps(query, step_s)
    if group_by is not None and not LABEL_NAME.match(group_by):
        raise InputError(f'"{group_by}" is not a label name.', "Label names are letters, digits and _.")
    steps = Steps(asking, query, step_s)
    whole = steps.load_sum(asking)
    if group_by is None:
        lines = [steps.points({}, whole, steps.load_reported(asking))]
    else:
        lines = _grouped(asking, steps, group_by, limit, whole)
    return SeriesAnswer(step_s, lines, resolution_of(steps.segments))


def check_steps(query: Query, step_s: int) -> None:
    """Raises InputError for a step that windows do not fit, or that gives too many points."""
    if step_s < 10 or step_s % 10:
        raise InputError(f"A step of {step_s} s is not a multiple of 10 s.", "Windows are 10 s long.")
    if query.range.seconds / step_s > MAX_STEPS:
        raise InputError(
            f"A step of {step_s} s cuts this range into more than {MAX_STEPS} points.",
            "Use a longer step or a shorter range.",
        )


class Steps:
    """The steps of one answer, and the sums that fall into them."""

    def __init__(self, asking: Asking, query: Query, step_s: int) -> None:
        self.query = query
        self.step_s = step_s
        self.first_s = query.range.start_s // step_s * step_s
        self.count = -(-(query.range.end_s - self.first_s) // step_s)
        rolled = step_s % MINUTE_S == 0
        self.segments = total_segments(asking, query) if rolled else [Segment("samples", query.range)]

    def bucket_sql(self, binds: Binds) -> str:
        """The number of the step in which `ts` lies, as a key."""
        return (
            f"intDiv(toUInt32(ts) - toUInt32({binds.add(self.first_s)}), "
            f"toUInt32({binds.add(self.step_s)})) AS bucket"
        )

    def load_sum(self, asking: Asking) -> U64:
        """The sum of each step."""
        binds = Binds()
        union = union_sql(self.query, self.segments, (self.bucket_sql(binds),), binds)
        found = asking.ask(f"SELECT bucket, sum(v) AS value FROM {union} GROUP BY bucket", binds)
        return self.spread(found["bucket"], found["value"])

    def load_reported(self, asking: Asking) -> Mask:
        """Steps in which a host of the selection reported a window."""
        binds = Binds()
        found = asking.ask(
            f"SELECT DISTINCT {self.bucket_sql(binds)} FROM windows "
            f"WHERE {time_condition(self.query.range, binds)} AND {hosts_condition(self.query, binds)}",
            binds,
        )
        return self.mark(found["bucket"])

    def load_hosts(self, asking: Asking) -> dict[str, I64]:
        """Host of the selection → steps in which it reported a window."""
        binds = Binds()
        rows = (
            f"SELECT host, {self.bucket_sql(binds)} FROM windows "
            f"WHERE {time_condition(self.query.range, binds)} AND {hosts_condition(self.query, binds)}"
        )
        found = asking.ask(
            f"SELECT host, groupUniqArray(bucket) AS buckets FROM ({rows}) GROUP BY host", binds
        )
        buckets = (np.asarray(steps).astype(np.int64) for steps in found["buckets"])
        return dict(zip(map(str, found["host"]), buckets, strict=True))

    def spread(self, buckets: npt.NDArray[np.integer], values: U64) -> U64:
        """`values` at their steps, 0 elsewhere."""
        line = np.zeros(self.count, np.uint64)
        line[buckets.astype(np.int64)] = values
        return line

    def mark(self, buckets: npt.NDArray[np.integer]) -> Mask:
        """True at `buckets`."""
        marked = np.zeros(self.count, np.bool_)
        marked[buckets.astype(np.int64)] = True
        return marked

    def mark_all(self, several: Iterable[I64]) -> Mask:
        """True at all of the buckets."""
        marked = np.zeros(self.count, np.bool_)
        for buckets in several:
            marked[buckets] = True
        return marked

    def points(self, labels: dict[str, str], line: U64, reported: Mask) -> SeriesPoints:
        """The line as points; a step with a value is never a gap."""
        values = np.where(reported | (line > 0), line.astype(np.float64), np.nan)
        return SeriesPoints(labels, self.starts, values)

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """When each step begins, Unix seconds."""
        return self.first_s + self.step_s * np.arange(self.count, dtype=np.int64)


def _grouped(asking: Asking, steps: Steps, group_by: str, limit: int, whole: U64) -> list[SeriesPoints]:
    largest = _load_largest(asking, steps, group_by, limit)
    if not largest:
        return []
    sums = _load_sums(asking, steps, group_by, largest)
    by_host = steps.load_hosts(asking)
    presence = _load_presence(asking, steps, group_by, largest, by_host)
    lines = [
        steps.points({group_by: name}, sums[name], presence.get(name, np.zeros(steps.count, np.bool_)))
        for name in largest
    ]
    rest = whole - sum((sums[name] for name in largest), np.zeros(steps.count, np.uint64))
    if rest.any():
        lines.append(steps.points({group_by: OTHER_LABEL}, rest, steps.mark_all(by_host.values())))
    return lines


def _labelled(steps: Steps, keys: tuple[str, ...], group_by: str, binds: Binds) -> str:
    """FROM clause of the segments' sums (by series and `keys`) with the series' `label`."""
    union = union_sql(steps.query, steps.segments, ("series", *keys), binds)
    labels = (
        f"(SELECT series, any({label_sql(group_by, binds)}) AS label "
        f"{series_sql(steps.query.matchers, steps.query.range, binds)} GROUP BY series)"
    )
    return f"FROM {union} AS x ANY LEFT JOIN {labels} AS y USING series"


def _load_largest(asking: Asking, steps: Steps, group_by: str, limit: int) -> list[str]:
    binds = Binds()
    found = asking.ask(
        f"SELECT label, sum(v) AS value {_labelled(steps, (), group_by, binds)} "
        f"GROUP BY label ORDER BY value DESC, label LIMIT {int(limit)}",
        binds,
    )
    return [str(name) for name in found["label"]]


def _load_sums(asking: Asking, steps: Steps, group_by: str, largest: list[str]) -> dict[str, U64]:
    binds = Binds()
    source = _labelled(steps, (steps.bucket_sql(binds),), group_by, binds)
    found = asking.ask(
        "SELECT label, groupArray(bucket) AS buckets, groupArray(value) AS values FROM "
        f"(SELECT label, bucket, sum(v) AS value {source} GROUP BY label, bucket) "
        f"WHERE label IN {binds.add(tuple(largest))} GROUP BY label",
        binds,
    )
    lines = zip(found["label"], found["buckets"], found["values"], strict=True)
    return {str(name): steps.spread(buckets, values) for name, buckets, values in lines}


def _load_presence(
    asking: Asking, steps: Steps, group_by: str, largest: list[str], by_host: dict[str, I64]
) -> dict[str, Mask]:
    """For each label value, the steps in which one of the hosts that have it reported."""
    binds = Binds()
    label = label_sql(group_by, binds)
    chosen = series_sql(steps.query.matchers, steps.query.range, binds)
    found = asking.ask(
        f"SELECT label, groupUniqArray(host) AS hosts FROM (SELECT host, {label} AS label {chosen}) "
        f"WHERE label IN {binds.add(tuple(largest))} GROUP BY label",
        binds,
    )
    none = np.zeros(0, np.int64)
    return {
        str(name): steps.mark_all(by_host.get(str(host), none) for host in hosts)
        for name, hosts in zip(found["label"], found["hosts"], strict=True)
    }
