"""How complete the windows of both sides are, told by one look at them where the sides have one range."""

from collections.abc import Sequence

from collector.query.asking import Asking
from collector.query.completeness import Chosen, Reports, coverage_of, load_losses, load_reports
from collector.query.model import Completeness, Query
from collector.query.sources import Binds
from collector.query.together import Owned, any_hosts_condition, together


def load_reports_of(asking: Asking, queries: Sequence[Query], owned: Sequence[Owned]) -> list[Reports]:
    """For each query what the windows of its hosts say; `owned`: the queries' series."""
    found: dict[int, Reports] = {}
    for places in together(queries):
        some = [queries[place] for place in places]
        hosts = [_hosts(query, owned[place]) for query, place in zip(some, places, strict=True)]
        found.update(zip(places, load_reports(asking, some, hosts, _chosen(some)), strict=True))
    return [found[place] for place in range(len(queries))]


def load_completeness(
    asking: Asking, reports: Sequence[Reports], owned: Sequence[Owned]
) -> list[Completeness]:
    """The same with losses."""
    queries = [each.query for each in reports]
    found: dict[int, Completeness] = {}
    for places in together(queries):
        some = [queries[place] for place in places]
        hosts = [_hosts(query, owned[place]) for query, place in zip(some, places, strict=True)]
        for place, losses in zip(places, load_losses(asking, some, hosts, _chosen(some)), strict=True):
            found[place] = coverage_of(reports[place], losses).completeness
    return [found[place] for place in range(len(queries))]


def _hosts(query: Query, owned: Owned) -> set[str] | None:
    return set(owned.hosts) if query.matchers else None


def _chosen(queries: Sequence[Query]) -> Chosen:
    binds = Binds()
    return any_hosts_condition(queries, binds), binds
