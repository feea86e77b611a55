"""The answer about a function by line of source: its parameters, its JSON and the schema of that."""

from collector.query.model import Json
from collector.query.querier import Querier
from collector.sources.listing import Sources
from collector.sources.model import SourceListing, SourceQuestion
from fleetprof.errors import InputError, UnavailableError
from query_ui.api.lines import DEFAULT_POINTS, series_json
from query_ui.api.parameters import Given, Parameter
from query_ui.api.profiles import frame_json, range_json
from query_ui.api.schemas import BOOLEAN, INTEGER, RANGE, TEXT, described, many, record

FUNCTION = Parameter("function", "Whole name of the function.", {"type": "string"})
MAPPING = Parameter(
    "mapping", "The file that it is in, where several have one of that name.", {"type": "string"}
)
BUILD = Parameter(
    "build", "Build id, where several builds run; by default the one with most time.", {"type": "string"}
)

SOURCE = record(
    "A function by line of source. Values are nanoseconds of its own time.",
    range=RANGE,
    covered_s=described(INTEGER, "Seconds of the range in which some selected host reported: for averages."),
    function=TEXT,
    kind=TEXT,
    mapping=TEXT,
    own=described(INTEGER, "The function's own time in the selection."),
    file=described(TEXT, "Of the lines; empty where it is not known."),
    start_line=described(INTEGER, "Where the function begins; 0: not known."),
    lines=many(
        record(
            "A line. With text whole passages are listed, else the lines that have a value.",
            line=INTEGER,
            text={"type": "string", "nullable": True},
            value=INTEGER,
            inlined=many(
                record("A function that was inlined on this line.", function=TEXT, value=INTEGER),
                "Of the value, the heaviest first.",
            ),
        )
    ),
    hottest=described(INTEGER, "The line with most time; 0 for none."),
    elsewhere=described(INTEGER, "Time in lines of other files, such as macros."),
    unplaced=described(INTEGER, "Time without a known line, or in other builds."),
    builds=many(
        record("A build, the heaviest first.", build_id=TEXT, value=INTEGER, lines_known=BOOLEAN),
        "Builds in which the function spends time, as far as places tell.",
    ),
    build_id=described(TEXT, "The build whose lines these are; empty for none."),
    text_from=described(TEXT, "Where the text is from; empty without text."),
    notices=many(
        record(
            "What is missing, and what to do; with a command to run, or an empty one.",
            text=TEXT,
            command=TEXT,
        )
    ),
)


def source_json(sources: Sources | None, querier: Querier, given: Given) -> Json:
    """The listing of a request; raises InputError, UnavailableError."""
    if sources is None:
        raise UnavailableError(
            "This server has no debug files.", "Ask the one that runs beside the collector."
        )
    if not given.get("function"):
        raise InputError("Which function?", "Give the parameter function.")
    question = SourceQuestion(
        given.query, given.get("function"), given.get("mapping") or "", given.get("build") or ""
    )
    covered_s = series_json(querier, question.query, None, 1, DEFAULT_POINTS)["covered_s"]
    answer = _listing_json(sources.listing(querier, question))
    return {"range": range_json(given.range), "covered_s": covered_s, **answer}


def _listing_json(listing: SourceListing) -> Json:
    shown = frame_json(listing.frame)
    return {
        "function": shown["name"],
        "kind": shown["kind"],
        "mapping": shown["mapping"],
        "own": listing.own,
        "file": listing.file,
        "start_line": listing.start_line,
        "lines": [
            {
                "line": line.number,
                "text": line.text,
                "value": line.value,
                "inlined": [{"function": name, "value": value} for name, value in line.inlined],
            }
            for line in listing.lines
        ],
        "hottest": listing.hottest,
        "elsewhere": listing.elsewhere,
        "unplaced": listing.unplaced,
        "builds": [build._asdict() for build in listing.builds],
        "build_id": listing.build_id,
        "text_from": listing.text_from,
        "notices": [notice._asdict() for notice in listing.notices],
    }
