r"""Folded stacks: one line a stack, outermost frame first, as flamegraph.pl reads them: `main;run;read 42`.

In names ";" is written \x3b, a line break \n, a carriage return \r and a backslash \\, so that a name can
never become two frames; a plain file has none of these. Kinds, files and lines are not part of the format.
"""

import re
from collections import Counter
from collections.abc import Iterable

from fleetprof.errors import InputError
from fleetprof.formats.stack_profile import SAMPLES_COUNT, StackProfile, ValueType, from_stacks
from fleetprof.frames import UNSAMPLED, Frame, FrameKind

_ESCAPES = {"\\": "\\\\", ";": "\\x3b", "\n": "\\n", "\r": "\\r"}
_PLAIN = {escaped: character for character, escaped in _ESCAPES.items()}
_SPECIAL = re.compile(r"[\\;\n\r]")
_ESCAPED = re.compile(r"\\(?:\\|x3b|n|r)")
_LINE = re.compile(r"(?P<stack>.+) (?P<value>[0-9]{1,19})[ \t\r]*", re.S)
_MAX_VALUE = 2**63 - 1


def encode(profile: StackProfile, column: int = 0) -> bytes:
    """Lines with the values of one column; stacks that read the same are added up, zeros left out, sorted."""
    return _write(profile, (column,))


def encode_two(profile: StackProfile) -> bytes:
    """Lines with the values of the first two columns, as difffolded.pl writes them: `main;run 42 57`."""
    return _write(profile, (0, 1))


def _write(profile: StackProfile, columns: tuple[int, ...]) -> bytes:
    names = [_escape(frame.name) for frame in profile.frames]
    starts, index = profile.starts.tolist(), profile.frame_index.tolist()
    lines: dict[str, list[int]] = {}
    for row, values in enumerate(profile.values[:, list(columns)].tolist()):
        stack = index[starts[row] : starts[row + 1]]
        line = ";".join(names[code] for code in reversed(stack)) or UNSAMPLED.name
        before = lines.get(line)
        lines[line] = [x + y for x, y in zip(before, values, strict=True)] if before else values
    text = "".join(
        f"{stack} {' '.join(map(str, values))}\n" for stack, values in sorted(lines.items()) if any(values)
    )
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes, value_type: ValueType = SAMPLES_COUNT) -> StackProfile:
    """The profile of a file of folded lines; frames are NATIVE ones with only a name.

    Raises InputError with the number of the first line that is not "frame;frame;… number".
    """
    totals: Counter[tuple[str, ...]] = Counter()
    # Only \n ends a line: names may hold characters that str.splitlines() would break at.
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        if line.strip():
            stack, value = _parse(line, number)
            totals[stack] += value
    if any(value > _MAX_VALUE for value in totals.values()):
        raise InputError("The folded stacks add up to more than 2^63.", "Use a larger unit.")
    return from_stacks(
        (_frames(stack) for stack in totals),
        [[value] for value in totals.values()],
        (value_type,),
        value_type,
    )


def _parse(line: str, number: int) -> tuple[tuple[str, ...], int]:
    found = _LINE.fullmatch(line)
    if not found:
        raise InputError(
            f"Line {number} of the folded stacks is not understood: {line[:80]!r}.",
            'Each line is frames from the outermost, joined by ";", a space, and a whole number.',
        )
    return tuple(found["stack"].split(";")), int(found["value"])


def _frames(stack: Iterable[str]) -> list[Frame]:
    names = [_ESCAPED.sub(lambda found: _PLAIN[found[0]], name) for name in stack]
    return [Frame(FrameKind.NATIVE, name or "[unknown]", "") for name in reversed(names)]


def _escape(name: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], name)
