"""The table of routes. The Flask app, the OpenAPI document and its test are all made from it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from collector.compare.model import Comparison
from collector.compare.units import Unit
from collector.query.completion import complete
from collector.query.export import FORMATS, export
from collector.query.model import Json, Profile, Query
from collector.query.querier import Querier
from collector.query.selector import parse_selector
from collector.releases.releases import Releases
from collector.sources.listing import Sources
from fleetprof.errors import InputError
from fleetprof.series import LABEL_NAME
from query_ui.api import parameters as p
from query_ui.api import schemas
from query_ui.api.compare import FORMATS as DIFF_FORMATS
from query_ui.api.compare import Shape, compare_with_profiles, diff_file, diff_json
from query_ui.api.compare_parameters import DIFF, side_query
from query_ui.api.hosts import HOSTS, hosts_json
from query_ui.api.lines import DEFAULT_POINTS, function_json, series_json
from query_ui.api.parameters import Given, Parameter
from query_ui.api.profiles import completeness_json, profile_json, range_json, top_json
from query_ui.api.recent import RecentAnswers
from query_ui.api.releases import releases_json
from query_ui.api.sources import BUILD, FUNCTION, MAPPING, SOURCE, source_json
from query_ui.api.status import STATUS, DiskOf, status_json

GROUP_BY = Parameter("group_by", "Label whose values become lines of their own.", {"type": "string"})
LIMIT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Download:
    """An answer that is a file, not JSON."""

    data: bytes
    content_type: str
    name: str


Answer = Json | Download


class Api:
    """What the routes need: a querier and the profiles kept from its last answers."""

    def __init__(self, querier: Querier, disk: DiskOf = lambda: None, sources: Sources | None = None) -> None:
        self.querier = querier
        self._disk, self._sources = disk, sources
        self.profiles = RecentAnswers(querier.profile)
        self.differences = RecentAnswers(self._compare)

    def _compare(self, question: tuple[Query, Query, Unit]) -> tuple[Comparison, tuple[Profile, Profile]]:
        return compare_with_profiles(self.querier, *question)

    def labels(self, given: Given) -> Answer:
        """Names of labels."""
        return {"labels": self.querier.label_names(given.range, parse_selector(given.text))}

    def label_values(self, given: Given) -> Answer:
        """Values of one label."""
        name = given.path["name"]
        if not LABEL_NAME.match(name):
            raise InputError(f'"{name}" is not a label name.', "Label names are letters, digits and _.")
        matchers = parse_selector(given.text)
        prefix = given.get("prefix") or ""
        return {"values": self.querier.label_values(name, given.range, matchers, prefix, given.get("limit"))}

    def profile(self, given: Given) -> Answer:
        """A profile, as a flame graph or as a file for another tool."""
        query = given.query
        profile = self.profiles.get(query)
        if given.get("format") != "json":
            made = export(profile, given.get("format"))
            name = f"{query.selection.name}-{query.range.start_s}-{query.range.end_s}.{made.suffix}"
            return Download(made.data, made.content_type, name)
        explanation = "" if profile.total else self.querier.explain_empty(query)
        return profile_json(profile, given.get("min_share"), given.get("root") or (), explanation)

    def top(self, given: Given) -> Answer:
        """The functions with the most time."""
        return top_json(self.querier, given.query, given.get("limit"), given.get("sort"))

    def source(self, given: Given) -> Answer:
        """A function by line of source."""
        return source_json(self._sources, self.querier, given)

    def series(self, given: Given) -> Answer:
        """Values over time."""
        if function := given.get("function"):
            return function_json(self.querier, given.query, str(function), given.get("points"))
        return series_json(
            self.querier, given.query, given.get("group_by"), given.get("limit"), given.get("points")
        )

    def summary(self, given: Given) -> Answer:
        """How much, of what, how well known."""
        query = given.query
        return {
            "range": range_json(query.range),
            **asdict(self.querier.summary(query)),
            "completeness": completeness_json(self.querier.completeness(query)),
        }

    def releases(self, given: Given) -> Answer:
        """Versions of services, found from their samples."""
        range = given.range
        found = Releases(self.querier).list(range, matchers=parse_selector(given.text))
        return releases_json(range, found, given.get("limit"))

    def diff(self, given: Given) -> Answer:
        """What changed from one selection to another."""
        a, b = side_query(given, "a"), side_query(given, "b")
        comparison, profiles = self.differences.get((a, b, given.get("unit")))
        if given.get("format") != "json":
            data, content_type, suffix = diff_file(profiles, given.get("format"))
            return Download(data, content_type, f"diff-{a.selection.name}-{b.range.start_s}.{suffix}")
        shape = Shape(given.get("limit"), given.get("min_share"), given.get("root") or ())
        return diff_json(comparison, profiles, shape)

    def hosts(self, given: Given) -> Answer:
        """The fleet's hosts, the worst first."""
        return hosts_json(self.querier.hosts(given.range, given.now_s), given.range)

    def status(self, given: Given) -> Answer:
        """How the collector fares."""
        return status_json(self._disk(), given.now_s)

    def complete(self, given: Given) -> Answer:
        """Candidates for what stands at the cursor of a selector."""
        cursor = given.get("cursor")
        at = len(given.text) if cursor is None else cursor
        found = complete(given.text, at, self.querier, given.range)
        return {**asdict(found), "candidates": list(found.candidates)}


@dataclass(frozen=True, slots=True)
class Route:
    """One address under /api/v1. `path` in OpenAPI's form, with {names}."""

    path: str
    summary: str
    answer: Callable[[Api, Given], Answer]
    schema: schemas.Schema
    parameters: tuple[Parameter, ...]
    path_parameters: tuple[tuple[str, str], ...] = ()
    formats: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """The path in Flask's form."""
        return self.path.replace("{", "<").replace("}", ">")


def limit(default: int, what: str, highest: int = LIMIT_MAX) -> Parameter:
    """A `limit` parameter."""
    return Parameter(
        "limit",
        f"At most so many {what}.",
        {"type": "integer", "minimum": 1, "maximum": highest},
        p.integer("limit", 1, highest),
        str(default),
    )


_WHEN = (p.FROM, p.TO)
_ASK = (p.QUERY, p.TYPE, *_WHEN)
_PROFILE_FORMATS = ("json", *FORMATS)

ROUTES = (
    Route(
        "/labels",
        "Names of labels",
        Api.labels,
        schemas.record("", labels=schemas.many(schemas.TEXT)),
        (p.QUERY, *_WHEN),
    ),
    Route(
        "/labels/{name}/values",
        "Values of a label",
        Api.label_values,
        schemas.record("", values=schemas.many(schemas.TEXT)),
        (
            p.QUERY,
            *_WHEN,
            Parameter("prefix", "Only values that start with this.", {"type": "string"}),
            limit(200, "values"),
        ),
        (("name", "Name of the label."),),
    ),
    Route(
        "/profile",
        "A profile as a flame graph, or as a file for another tool",
        Api.profile,
        schemas.PROFILE,
        (
            *_ASK,
            Parameter(
                "format",
                "json: a flame graph; the others hold all stacks, for other tools.",
                {"type": "string", "enum": list(_PROFILE_FORMATS)},
                p.one_of("format", _PROFILE_FORMATS),
                "json",
            ),
            Parameter(
                "min_share",
                "Merge nodes below this share of the tree (json only).",
                {"type": "number", "minimum": 0, "maximum": 1},
                p.share,
                "0.0005",
            ),
            Parameter(
                "root",
                "Only stacks through this frame: names from the outermost inwards with ; between, "
                "\\ before a name's own ; and \\ (json only).",
                {"type": "string"},
                p.frame_path,
            ),
        ),
        formats=FORMATS,
    ),
    Route(
        "/top",
        "Functions with the most time",
        Api.top,
        schemas.TOP,
        (
            *_ASK,
            limit(100, "functions"),
            Parameter(
                "sort",
                "What to sort by, largest first.",
                {"type": "string", "enum": ["self", "total"]},
                p.one_of("sort", ("self", "total")),
                "self",
            ),
        ),
    ),
    Route(
        "/source",
        "A function by line of source",
        Api.source,
        SOURCE,
        (FUNCTION, MAPPING, BUILD, *_ASK),
    ),
    Route(
        "/series",
        "Values over time",
        Api.series,
        schemas.SERIES,
        (
            *_ASK,
            GROUP_BY,
            Parameter(
                "function",
                "In place of the time: the part of it (0..1) that a function of this name took, with all it calls.",
                {"type": "string"},
            ),
            limit(10, "lines; the rest is summed as (other)", 100),
            Parameter(
                "points",
                "At most so many steps.",
                {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
                p.integer("points", 1, LIMIT_MAX),
                str(DEFAULT_POINTS),
            ),
        ),
    ),
    Route(
        "/releases",
        "Versions of services, the newest first",
        Api.releases,
        schemas.RELEASES,
        (p.QUERY, *_WHEN, limit(200, "releases", 2000)),
    ),
    Route(
        "/diff",
        "What changed from one selection to another, with intervals",
        Api.diff,
        schemas.DIFF,
        DIFF,
        formats=DIFF_FORMATS[1:],
    ),
    Route("/summary", "The figures above a profile", Api.summary, schemas.SUMMARY, _ASK),
    Route("/hosts", "The fleet's hosts: what runs there and what is wrong", Api.hosts, HOSTS, _WHEN),
    Route("/status", "How the collector fares, and what people should know of it", Api.status, STATUS, ()),
    Route(
        "/complete",
        "Completion of a selector while it is typed",
        Api.complete,
        schemas.COMPLETION,
        (
            p.QUERY,
            *_WHEN,
            Parameter(
                "cursor",
                "Where the cursor stands, counted from 0; the end by default.",
                {"type": "integer", "minimum": 0},
                p.integer("cursor", 0, 100_000),
            ),
        ),
    ),
)
