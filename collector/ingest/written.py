"""Which definitions this process has written to the store, so that each is written once (stacks and series:
once a day). Forgetting is harmless: the tables replace what is written again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from collector.ingest.definitions import Series
from collector.ingest.recent import Recent
from fleetprof.frames import Frame

DAY_S = 86400

_FRAMES = 1_000_000
_STACKS_A_DAY = 2_000_000
_DAYS = 3  # today, and what spooled windows bring


@dataclass(slots=True)
class _Day:
    stacks: dict[str, set[int]] = field(default_factory=dict)
    series: set[int] = field(default_factory=set)
    count: int = 0


class Written:
    """Not thread-safe: belongs to the thread that writes."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Take nothing for written: what was handed out has not reached the store."""
        self._frames: Recent[int, bool] = Recent(_FRAMES)
        self._days: dict[int, _Day] = {}

    def new_frames(self, frames: Mapping[int, Frame]) -> dict[int, Frame]:
        """Those of the frames that are to be written; from now on they count as written."""
        new = {number: frame for number, frame in frames.items() if not self._frames.get(number)}
        for number in new:
            self._frames.put(number, True)
        return new

    def new_stacks(self, service: str, stacks: Iterable[int], day: int) -> set[int]:
        """Those of a service's stacks that are to be written on `day`; the empty stack never is."""
        known = self._day(day)
        written = known.stacks.setdefault(service, set())
        new = set(stacks) - written - {0}
        written |= new
        known.count += len(new)
        return new

    def new_series(self, series: Iterable[Series], day: int) -> list[Series]:
        """Those of the series that are to be written on `day`."""
        known = self._day(day)
        new = [each for each in series if each.id not in known.series]
        known.series.update(each.id for each in new)
        known.count += len(new)
        return new

    def _day(self, day: int) -> _Day:
        known = self._days.pop(day, None)
        if known is None or known.count > _STACKS_A_DAY:
            known = _Day()
        self._days[day] = known
        if len(self._days) > _DAYS:
            del self._days[next(iter(self._days))]
        return known
