"""Parameters of the diff: two selections, each with a range of its own where it is not the common one."""

from collector.compare.units import UNITS
from collector.query.model import Query
from collector.query.selector import parse_selector
from collector.query.time_range import parse_range
from fleetprof.profile_types import selection
from query_ui.api import parameters as p
from query_ui.api.compare import FORMATS
from query_ui.api.parameters import Given, Parameter

_TEXT = {"type": "string"}


def _side(name: str) -> tuple[Parameter, ...]:
    upper = name.upper()
    return (
        Parameter(f"{name}_query", f'Label selector of {upper}, e.g. service="checkout",version="1".', _TEXT),
        Parameter(f"{name}_from", f"Start of {upper}; that of both by default.", _TEXT),
        Parameter(f"{name}_to", f"End of {upper}; that of both by default.", _TEXT),
    )


DIFF = (
    *_side("a"),
    *_side("b"),
    p.FROM,
    p.TO,
    p.TYPE,
    Parameter(
        "unit",
        "share: of the selection's time; cores_per_host: CPU-seconds per second and host.",
        {"type": "string", "enum": list(UNITS)},
        p.one_of("unit", UNITS),
        "share",
    ),
    Parameter(
        "format",
        "json: movers and tree; folded: lines with both values; pprof: types a, b and their difference.",
        {"type": "string", "enum": list(FORMATS)},
        p.one_of("format", FORMATS),
        "json",
    ),
    Parameter(
        "limit",
        "At most so many movers (json only).",
        {"type": "integer", "minimum": 1, "maximum": 10_000},
        p.integer("limit", 1, 10_000),
        "200",
    ),
    Parameter(
        "min_share",
        "Merge nodes below this share of both sides (json only).",
        {"type": "number", "minimum": 0, "maximum": 1},
        p.share,
        "0.0005",
    ),
    Parameter(
        "root",
        "Only stacks through this frame: names from the outermost inwards with ; between (json only).",
        _TEXT,
        p.frame_path,
    ),
)


def side_query(given: Given, name: str) -> Query:
    """The selection of side "a" or "b"; raises InputError."""
    start = given.written(f"{name}_from") or given.written("from")
    end = given.written(f"{name}_to") or given.written("to")
    matchers = parse_selector(given.written(f"{name}_query"))
    return Query(selection(given.written("type")), matchers, parse_range(start, end, given.now_s))
