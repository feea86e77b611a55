"""Label names and values that the store has seen."""

from collector.query.asking import Asking
from collector.query.model import Matcher, TimeRange
from collector.query.sources import Binds, label_sql, series_sql
from fleetprof.series import KNOWN_LABELS


def load_label_names(asking: Asking, range: TimeRange | None, matchers: tuple[Matcher, ...]) -> list[str]:
    """Names of labels that matching series have (known ones first, in their usual order, then free ones)."""
    binds = Binds()
    counts = ", ".join(f"countIf({name} != '') AS with_{name}" for name in KNOWN_LABELS)
    known = asking.ask(f"SELECT {counts} {series_sql(matchers, range, binds)}", binds)
    binds = Binds()
    free = asking.ask(
        f"SELECT DISTINCT arrayJoin(free_names) AS name {series_sql(matchers, range, binds)} ORDER BY name",
        binds,
    )
    names = [name for name in KNOWN_LABELS if known[f"with_{name}"].sum()]
    return names + [str(name) for name in free["name"] if name not in KNOWN_LABELS]


def load_label_values(
    asking: Asking,
    name: str,
    range: TimeRange | None,
    matchers: tuple[Matcher, ...],
    prefix: str,
    limit: int,
) -> list[str]:
    """Values of a label that start with `prefix`, ascending, at most `limit`; "" (absent) is no value."""
    binds = Binds()
    value = label_sql(name, binds)
    source = series_sql(matchers, range, binds)
    condition = "value != ''"
    if prefix:
        condition += f" AND position(value, {binds.add(prefix)}) = 1"
    found = asking.ask(
        f"SELECT value FROM (SELECT DISTINCT {value} AS value {source}) WHERE {condition} "
        f"ORDER BY value LIMIT {int(limit)}",
        binds,
    )
    return [str(text) for text in found["value"]]
