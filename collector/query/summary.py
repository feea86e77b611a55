"""The figures above a profile."""

from dataclasses import replace

from collector.query.asking import Asking
from collector.query.model import Query, Summary
from collector.query.segments import total_segments
from collector.query.sources import Binds, hosts_condition, time_condition, union_sql


def load_summary(asking: Asking, query: Query) -> Summary:
    """Sums of the selection and of everything, and how many hosts stand behind them."""
    value, captures = load_total(asking, query)
    everything = load_total(asking, replace(query, matchers=()))[0] if query.matchers else value
    hosts, hosts_total = _load_hosts(asking, query)
    seconds = value / 1e9
    return Summary(
        seconds=seconds,
        average=seconds / query.range.seconds,
        share=value / everything if everything else 0.0,
        hosts=hosts,
        hosts_total=hosts_total,
        captures=captures,
    )


def load_total(asking: Asking, query: Query) -> tuple[int, int]:
    """(nanoseconds, captures) of the selection."""
    binds = Binds()
    union = union_sql(query, total_segments(asking, query), (), binds)
    found = asking.ask(f"SELECT sum(v) AS value, sum(c) AS captures FROM {union}", binds)
    return int(found["value"].sum()), int(found["captures"].sum())


def _load_hosts(asking: Asking, query: Query) -> tuple[int, int]:
    binds = Binds()
    found = asking.ask(
        f"SELECT sum(chosen) AS selected, count() AS every FROM (SELECT {hosts_condition(query, binds)} AS chosen"
        f" FROM (SELECT host FROM windows WHERE {time_condition(query.range, binds)} GROUP BY host))",
        binds,
    )
    return int(found["selected"].sum()), int(found["every"].sum())
