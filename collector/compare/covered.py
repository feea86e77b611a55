"""How complete the windows of both sides are, told by one look at them where the sides have one range."""

from collections.abc import Sequence

from collector.query.asking import Asking
from collector.query.completeness import Chosen, Reports, coverage_of, load_losses, load_reports
from collector.query.model import Completeness, Query
from collector.query.sources import Binds
from collector.query.together import Owned, answered_together, any_hosts_condition


def load_reports_of(asking: Asking, queries: Sequence[Query], owned: Sequence[Owned]) -> list[Reports]:
    """For each query what the windows of its hosts say; `owned`: the queries' series."""

    def answer(places: list[int]) -> list[Reports]:
        some = [queries[place] for place in places]
        return load_reports(asking, some, _hosts(queries, owned, places), _chosen(some))

    return answered_together(queries, answer)


def load_completeness(
    asking: Asking, reports: Sequence[Reports], owned: Sequence[Owned]
) -> list[Completeness]:
    """The same with losses."""
    queries = [each.query for each in reports]

    def answer(places: list[int]) -> list[dict[str, int]]:
        some = [queries[place] for place in places]
        return load_losses(asking, some, _hosts(queries, owned, places), _chosen(some))

    losses = answered_together(queries, answer)
    return [coverage_of(*each).completeness for each in zip(reports, losses, strict=True)]


def _hosts(queries: Sequence[Query], owned: Sequence[Owned], places: list[int]) -> list[set[str] | None]:
    return [set(owned[place].hosts) if queries[place].matchers else None for place in places]


def _chosen(queries: Sequence[Query]) -> Chosen:
    binds = Binds()
    return any_hosts_condition(queries, binds), binds
