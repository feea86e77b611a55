"""Parameters of the API: what each is called, what it means, and how its text becomes a value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MultiDict

from collector.query.model import Query, TimeRange
from collector.query.selector import parse_selector
from collector.query.time_range import parse_range
from fleetprof.errors import InputError
from fleetprof.profile_types import SELECTIONS, selection

Schema = Mapping[str, Any]
"""A JSON schema, as OpenAPI takes it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter. `parse` gets the text and raises InputError; `default` is a text, too."""

    name: str
    description: str
    schema: Schema
    parse: Callable[[str], Any] = str
    default: str = ""


def integer(name: str, lowest: int, highest: int) -> Callable[[str], int]:
    """A parser of whole numbers within bounds, both included."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not lowest <= int(text[:12]) <= highest:
            raise InputError(
                f'Parameter {name} is not understood: "{text}".',
                f"Give a whole number from {lowest} to {highest}.",
            )
        return int(text)

    return parse


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f'Parameter min_share is not understood: "{text}".', "Give a number from 0 to 1.")
    return value


def one_of(name: str, known: tuple[str, ...]) -> Callable[[str], str]:
    """A parser that accepts only `known` texts."""

    def parse(text: str) -> str:
        if text not in known:
            raise InputError(f'Unknown {name} "{text}".', f"Known: {', '.join(known)}.")
        return text

    return parse


def frame_path(text: str) -> tuple[str, ...]:
    r"""Names of frames, outermost first, with ";" between; a name's own ";" and "\" have a "\" before."""
    names: list[str] = []
    name: list[str] = []
    characters = iter(text)
    for character in characters:
        if character == ";":
            names.append("".join(name))
            name = []
        else:
            name.append(next(characters, "\\") if character == "\\" else character)
    return (*names, "".join(name)) if text else ()


QUERY = Parameter(
    "query",
    'Label selector, e.g. service="checkout",version=~"1\\..*"; braces are optional. Empty: everything.',
    {"type": "string"},
)
FROM = Parameter(
    "from",
    "Start: now-15m, 2026-11-19T09:00:00Z (UTC where no offset is given), or Unix seconds.",
    {"type": "string"},
    default="now-1h",
)
TO = Parameter("to", "End, excluded; written like from.", {"type": "string"}, default="now")
TYPE = Parameter(
    "type",
    "Profile type. cpu: on a CPU; runq: waiting for one; offcpu: blocked; wall: the sum of the three.",
    {"type": "string", "enum": list(SELECTIONS)},
    one_of("profile type", tuple(SELECTIONS)),
    "cpu",
)


class Given:
    """The parameters of one request, parsed; refuses unknown and repeated ones."""

    def __init__(
        self,
        known: tuple[Parameter, ...],
        arguments: MultiDict[str, str],
        now_s: int,
        path: Mapping[str, str],
    ) -> None:
        """Raises InputError for a parameter that is unknown, given twice, or not understood."""
        _check_names(known, arguments)
        self._texts = {
            parameter.name: arguments.get(parameter.name) or parameter.default for parameter in known
        }
        self._values = {
            parameter.name: parameter.parse(self._texts[parameter.name])
            for parameter in known
            if self._texts[parameter.name]
        }
        self.now_s = now_s
        self.path = path

    def get(self, name: str) -> Any:
        """The parsed value of a parameter; None when it was not given and has no default."""
        return self._values.get(name)

    def written(self, name: str) -> str:
        """The text of a parameter as it was given, or its default."""
        return self._texts[name]

    @property
    def range(self) -> TimeRange:
        """The time range of `from` and `to`; raises InputError."""
        return parse_range(self._texts["from"], self._texts["to"], self.now_s)

    @property
    def query(self) -> Query:
        """The whole question; raises InputError for a selector or range that is not understood."""
        return Query(selection(self._texts["type"]), parse_selector(self._texts["query"]), self.range)

    @property
    def text(self) -> str:
        """The selector as it was typed."""
        return self._texts["query"]


def _check_names(known: tuple[Parameter, ...], arguments: MultiDict[str, str]) -> None:
    names = [parameter.name for parameter in known]
    for name, values in arguments.lists():
        if name not in names:
            listed = f"Known parameters: {', '.join(names)}." if names else "This route takes none."
            raise InputError(f'Unknown parameter "{name}".', listed)
        if len(values) > 1:
            raise InputError(f'Parameter "{name}" is given {len(values)} times.', "Give it once.")
