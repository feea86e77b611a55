"""Where in a TOML file each key stands; tomllib keeps no positions.

The text is cut into statements (a header, or a key with its value) by giving ever more lines to tomllib until
they parse, so that strings and arrays over several lines need no scanner of our own.
"""

import re
import tomllib
from typing import Any

Path = tuple[str | int, ...]
"""Keys and places in arrays of tables from the root, e.g. ("rule", 0, "labels", "team")."""

_HEADER = re.compile(r"\s*(\[\[?)")


def positions(text: str) -> dict[Path, int]:
    """Path → line (from 1) of each key and table of `text`, which must be valid TOML.

    Keys inside an inline table have the line of the statement that holds it.
    """
    found: dict[Path, int] = {}
    table: Path = ()
    counts: dict[Path, int] = {}
    for line, statement in _statements(text):
        header = _HEADER.match(statement)
        if header:
            table = _table(tomllib.loads(statement), counts, header[1] == "[[")
            found[table] = line
        else:
            _note(found, table, tomllib.loads(statement), line)
    return found


def place_of(found: dict[Path, int], path: Path) -> int:
    """The line of `path`, or of the nearest table around it; 1 where nothing is known."""
    for length in range(len(path), 0, -1):
        if path[:length] in found:
            return found[path[:length]]
    return 1


def _statements(text: str) -> list[tuple[int, str]]:
    statements: list[tuple[int, str]] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        end = _end(lines, at)
        statements.append((at + 1, "\n".join(lines[at:end])))
        at = end
    return statements


def _end(lines: list[str], start: int) -> int:
    """The line after the statement that begins at `start`."""
    for end in range(start + 1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            continue
        return end
    return len(lines)


def _table(parsed: dict[str, Any], counts: dict[Path, int], repeated: bool) -> Path:
    """The path of a header such as [[rule]] or [rule.labels], which belongs to the latest [[rule]]."""
    names: list[str] = []
    inner: Any = parsed
    while isinstance(inner, dict) and inner:
        name, inner = next(iter(inner.items()))
        names.append(name)
        inner = inner[0] if isinstance(inner, list) else inner
    path: Path = ()
    for index, name in enumerate(names):
        path = (*path, name)
        if repeated and index == len(names) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _note(found: dict[Path, int], table: Path, value: Any, line: int) -> None:
    if isinstance(value, dict):
        items: list[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list):
        items = [(index, item) for index, item in enumerate(value) if isinstance(item, dict)]
    else:
        items = []
    for name, inner in items:
        found.setdefault((*table, name), line)
        _note(found, (*table, name), inner, line)
