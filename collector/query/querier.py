"""The one way to ask the store: typed questions in, typed answers out. Safe to use from several threads."""

from typing import Literal

from collector.query import explain, function_lines, hosts, labels, lines, profiles, summary, tops
from collector.query.asking import Asking, Limits
from collector.query.completeness import Coverage, load_coverage
from collector.query.frame_names import FrameNames
from collector.query.host_model import HostRow
from collector.query.model import (
    Completeness,
    Matcher,
    Profile,
    Query,
    SeriesAnswer,
    Summary,
    TimeRange,
    TopRow,
)
from collector.query.sources import Segment
from collector.store.interface import Store
from fleetprof.errors import InputError


class Querier:
    """Questions to one store.

    Every method raises QueryTooLong or StoreBusy (collector/store/errors.py) past `limits`, StoreError when
    the store fails, and InputError for what cannot be asked.
    """

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        self._asking = Asking(store, limits or Limits())
        self._names = FrameNames(self._asking)

    @property
    def asking(self) -> Asking:
        """The store and its limits, for other parts that ask it (collector/compare, collector/releases)."""
        return self._asking

    @property
    def names(self) -> FrameNames:
        """The frames that were looked up lately."""
        return self._names

    def profile(
        self,
        query: Query,
        max_stacks: int | None = 100_000,
        split_services: bool = True,
        covered: bool = True,
        segments: list[Segment] | None = None,
    ) -> Profile:
        """Stacks with their sums.

        The `max_stacks` heaviest are kept (None: all), the sum of the rest is one LABEL frame "(other)", so
        the total is exact. Time without a stack is UNSAMPLED, a stack without definition "(undefined stack)".
        Without `covered`, completeness is not looked up. `segments`: which tables answer, where that is known
        (collector/query/segments.py).
        """
        coverage = load_coverage(self._asking, query) if covered else Coverage.unknown()
        return profiles.load_profile(
            self._asking, self._names, query, coverage, max_stacks, split_services, segments
        )

    def top(
        self, query: Query, limit: int = 100, sort: Literal["self", "total"] = "self"
    ) -> tuple[list[TopRow], int]:
        """The heaviest functions, and the sum of everything (for shares); exact, from all stacks."""
        if sort not in ("self", "total"):
            raise InputError(f'Cannot sort by "{sort}".', "Sort by self or total.")
        return tops.load_top(self._asking, self._names, query, limit, sort)

    def series(self, query: Query, step_s: int, group_by: str | None = None, limit: int = 10) -> SeriesAnswer:
        """Values over time; nanoseconds a step. NaN where no selected host reported."""
        return lines.load_series(self._asking, query, step_s, group_by, limit)

    def function_share(self, query: Query, step_s: int, function: str) -> SeriesAnswer:
        """One line: the part (0..1) of the query's time in stacks that hold a function of this name."""
        return function_lines.load_function_share(self._asking, query, step_s, function)

    def label_names(self, range: TimeRange | None, matchers: tuple[Matcher, ...] = ()) -> list[str]:
        """Names of labels that matching series of the range's days have; of all days for None."""
        return labels.load_label_names(self._asking, range, matchers)

    def label_values(
        self,
        name: str,
        range: TimeRange | None,
        matchers: tuple[Matcher, ...] = (),
        prefix: str = "",
        limit: int = 200,
    ) -> list[str]:
        """Values of a label in matching series of the range's days, ascending, at most `limit`."""
        return labels.load_label_values(self._asking, name, range, matchers, prefix, limit)

    def completeness(self, query: Query) -> Completeness:
        """How much of what the query's hosts should have sent is there."""
        return load_coverage(self._asking, query).completeness

    def summary(self, query: Query) -> Summary:
        """The figures above a profile."""
        return summary.load_summary(self._asking, query)

    def explain_empty(self, query: Query) -> str:
        """Why `query` has no samples, in a sentence or two."""
        return explain.explain_empty(self._asking, query)

    def hosts(self, range: TimeRange, now_s: float | None = None) -> list[HostRow]:
        """All hosts, with what runs there, what it costs to profile them and what is wrong; the worst first.

        `now_s` (Unix seconds; the clock's time by default) decides which hosts are silent.
        """
        return hosts.load_hosts(self._asking, range, now_s)
