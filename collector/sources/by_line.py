"""From places to lines: which line of the function runs at each, and what was inlined there."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from collector.debuginfo.files import DebugFiles
from collector.debuginfo.look_ups import LookUps
from collector.debuginfo.workers import Function, WorkerFailed, Workers
from collector.query.frame_names import FrameNames
from collector.query.inside import Inside, Nameless, Place
from collector.sources.model import Notice
from fleetprof.frames import Frame

_UPLOAD = "fleetprof-collector debuginfo upload FILE"
MAX_OFFSETS = 20_000
"""Of one build; the heaviest are looked at."""


@dataclass(slots=True)
class Tally:
    """The time of one line."""

    value: int = 0
    inlined: Counter[str] = field(default_factory=Counter)
    """Function that was inlined here → its part."""


@dataclass(slots=True)
class ByLine:
    """The time of one build's lines, by file."""

    files: dict[str, dict[int, Tally]] = field(default_factory=dict)
    start_lines: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(file, line) where the function begins, as each place says it."""
    problem: Notice | None = None
    """Why there are none."""

    def add(self, file: str, line: int, value: int, inlined: str) -> None:
        """Count time at a line."""
        tally = self.files.setdefault(file, {}).setdefault(line, Tally())
        tally.value += value
        if inlined:
            tally.inlined[inlined] += value

    @property
    def heaviest_file(self) -> str:
        """The file with most time; "" for none."""
        sums = {file: sum(tally.value for tally in lines.values()) for file, lines in self.files.items()}
        return max(sums, key=lambda file: (sums[file], file), default="")


class LineFinder:
    """Finds lines. Safe to use from several threads."""

    def __init__(self, files: DebugFiles, workers: Workers) -> None:
        self._files, self._look_ups = files, LookUps(files, workers)

    def knows_lines(self, build_id: str) -> bool:
        """Whether a debug file with lines of this build is kept."""
        file = self._files.find(build_id)
        return file is not None and file.lines and not file.problem

    def why_not(self, build_id: str) -> Notice | None:
        """Why lines of a build are not known; None where they are."""
        file = self._files.find(build_id)
        if file is None:
            return Notice(
                f"No debug file of build {build_id} is kept here. Name a debuginfod server that has it "
                "(debuginfod_urls), or upload it:",
                _UPLOAD,
            )
        if file.problem:
            return Notice(f"The debug file of build {build_id} cannot be used: {file.problem}")
        if not file.lines:
            return Notice(
                f"The debug file of build {build_id} has symbols, but no lines. Upload the file as it was before "
                "it was stripped, or its separate debug file:",
                _UPLOAD,
            )
        return None

    def add_places(self, found: ByLine, name: str, build_id: str, places: Sequence[Place]) -> None:
        """Count places of the function called `name` in one build; raises UnavailableError."""
        found.problem = self.why_not(build_id)
        file = self._files.find(build_id)
        if found.problem or file is None:
            return
        heaviest = sorted(places, key=lambda place: -place.value)[:MAX_OFFSETS]
        try:
            chains = self._look_ups.functions(file, [place.offset for place in heaviest])
        except WorkerFailed as failed:
            found.problem = Notice(f"The debug file of build {build_id} cannot be used: {failed}")
            return
        for place, chain in zip(heaviest, chains or [[] for _ in heaviest], strict=True):
            _add_chain(found, name, place.value, chain)


def _add_chain(found: ByLine, name: str, value: int, chain: Sequence[Function]) -> None:
    """Functions at one place, innermost first: the outermost one is compiled there under its own name."""
    if not chain:
        return
    at = max((place for place, function in enumerate(chain) if function.name == name), default=len(chain) - 1)
    function = chain[at]
    if function.line:
        found.add(function.file, function.line, value, chain[at - 1].name if at else "")
    if function.start_line:
        found.start_lines[function.file, function.start_line] += value


def add_nameless(found: ByLine, inside: Inside, names: FrameNames, frames: Iterable[Nameless]) -> None:
    """Count frames that are places themselves, by what is stored of them."""
    some = sorted({id_ for frame in frames for id_ in frame.functions})
    named = dict(zip(some, load_frames(names, some), strict=True))
    for frame in frames:
        at = max(place for place, id_ in enumerate(frame.functions) if id_ in inside.named)
        function, line = inside.named[frame.functions[at]], frame.lines[at] if at < len(frame.lines) else 0
        if line:
            inlined = named[frame.functions[at - 1]].function if at else ""
            found.add(function.file, line, inside.own[frame.id], inlined)
        if function.line:
            found.start_lines[function.file, function.line] += inside.own[frame.id]


def load_frames(names: FrameNames, ids: Sequence[int]) -> list[Frame]:
    """The frame of each id."""
    return names.load(np.array(ids, np.uint64)) if ids else []
