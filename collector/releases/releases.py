"""Releases, found from samples: a version label of a service that was not there before. Nobody announces it.

Everything comes from the minute sums of series and their labels, so that a day of a large fleet answers at
once; a version is seen a minute after its first window.
"""

from collections.abc import Sequence

from collector.query.asking import Asking
from collector.query.model import Matcher, TimeRange
from collector.query.querier import Querier
from collector.releases.load import NOW_S, Key, Run, load_births, load_runs
from collector.releases.model import HostRun, Release
from collector.releases.rollouts import latest_rollouts
from collector.store.interface import Store

MAX_RELEASES = 2000
MAX_RUNS = 1000


class Releases:
    """Questions about releases. Safe to use from several threads."""

    def __init__(self, source: Querier | Store) -> None:
        self._asking = source.asking if isinstance(source, Querier) else Asking(source)

    def list(
        self, range: TimeRange, service: str | None = None, matchers: tuple[Matcher, ...] = ()
    ) -> list[Release]:
        """The versions of each service (or of one) that used CPU in `range`, the newest first.

        A service that sends no version has none. `matchers` choose series, as in a query.
        """
        if service is not None:
            matchers = (*matchers, Matcher("service", "=", service))
        runs = load_runs(self._asking, range, matchers)
        born = load_births(self._asking, range, matchers)
        by_service: dict[str, dict[str, list[Run]]] = {}
        for (name, version), found in runs.items():
            by_service.setdefault(name, {})[version] = found
        releases = [
            release
            for name, versions in by_service.items()
            for release in _describe(name, versions, born)
            if release.version
        ]
        releases.sort(key=lambda release: (-release.first_seen_s, release.service, release.version))
        return releases[:MAX_RELEASES]

    def rollouts(self, range: TimeRange, matchers: tuple[Matcher, ...] = ()) -> Sequence[Release]:
        """As `list`, but a version that was rolled back and went out again within `range` is told as of then.

        Its `first_seen_s` is the minute in which it came back, `predecessor` what ran in between.
        """
        return latest_rollouts(self._asking, self.list(range, matchers=matchers), range, matchers)


def _describe(service: str, versions: dict[str, list[Run]], births: dict[Key, int]) -> list[Release]:
    """The releases of one service."""
    end_s = max(run.last_s for runs in versions.values() for run in runs)
    now = {
        v: [run for run in runs if run.value or run.last_s + NOW_S > end_s] for v, runs in versions.items()
    }
    hosts_now = {run.host for runs in now.values() for run in runs}
    whole = sum(run.value for runs in versions.values() for run in runs)
    first = {version: _first(births.get((service, version)), runs) for version, runs in versions.items()}
    return [
        Release(
            service=service,
            version=version,
            first_seen_s=first[version],
            last_seen_s=max(run.last_s for run in runs),
            hosts=len(runs),
            hosts_now=len(now[version]),
            host_share=len(now[version]) / len(hosts_now) if hosts_now else 0.0,
            cpu_share=sum(run.value for run in runs) / whole if whole else 0.0,
            cores=sum(run.value for run in runs) / 1e9 / NOW_S,
            predecessor=_predecessor(version, versions, first),
            runs=tuple(HostRun(run.host, run.first_s, run.last_s) for run in runs[:MAX_RUNS]),
        )
        for version, runs in versions.items()
    ]


def _first(birth: int | None, runs: list[Run]) -> int:
    earliest = min(run.first_s for run in runs)
    return min(birth, earliest) if birth is not None else earliest


def _predecessor(version: str, versions: dict[str, list[Run]], first: dict[str, int]) -> str:
    """Of the versions that are older, the one that ran last before this one appeared, or beside it.

    Of several, that which ran on most of this one's hosts, then on most hosts, then the youngest.
    """
    hosts = {run.host for run in versions[version]}
    best, best_score = "", (-1, -1, -1, -1)
    for other, runs in versions.items():
        if not other or first[other] >= first[version]:
            continue
        until = min(max(run.last_s for run in runs), first[version])
        same = sum(run.host in hosts for run in runs)
        score = (until // NOW_S, same, len(runs), first[other])
        if score > best_score:
            best, best_score = other, score
    return best
