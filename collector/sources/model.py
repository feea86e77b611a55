"""A function by line of source: what is asked, and the answer."""

from dataclasses import dataclass, field
from typing import NamedTuple

from collector.query.model import Query
from fleetprof.frames import Frame


@dataclass(frozen=True, slots=True)
class SourceQuestion:
    """Which function, and which of its builds ("": the one with most time of which lines are known)."""

    query: Query
    function: str
    mapping: str = ""
    build_id: str = ""


class Line(NamedTuple):
    """A line of source. `text` is None where it is not known."""

    number: int
    text: str | None
    value: int
    """The function's own time here, with what the compiler put in the place of calls."""
    inlined: tuple[tuple[str, int], ...]
    """Of `value`: functions that the compiler put in the place of a call on this line, each with its part."""


class Notice(NamedTuple):
    """What is missing, and what to do about it; `command` is one to run, "" for none."""

    text: str
    command: str = ""


class Build(NamedTuple):
    """A build in which the function spends time."""

    build_id: str
    value: int
    """Of it, as far as places tell."""
    lines_known: bool


@dataclass(frozen=True, slots=True)
class SourceListing:
    """A function by line. Values are nanoseconds."""

    frame: Frame
    own: int
    """The function's own time in the selection."""
    builds: list[Build]
    """With most time first."""
    build_id: str
    """The one whose lines these are; "" for none."""
    file: str
    start_line: int
    """Where the function begins; 0: not known."""
    lines: list[Line]
    """In order. With text whole passages, else those that have a value."""
    hottest: int
    """The number of the line with most time; 0 for none."""
    elsewhere: int
    """Of `own`: in lines of other files, such as macros."""
    unplaced: int
    """Of `own`: at places that are not told, without a line, or in other builds."""
    text_from: str
    """Where the text is from, for people; "" without text."""
    notices: list[Notice] = field(default_factory=list)
