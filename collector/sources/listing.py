"""A function by line of source, top to bottom: load → choose a build → lines → text → what is missing."""

from collector.debuginfo.files import DebugFiles
from collector.debuginfo.workers import Workers
from collector.query.inside import Inside, Nameless, load_inside, load_versions
from collector.query.model import Query
from collector.query.querier import Querier
from collector.sources import words
from collector.sources.by_line import ByLine, LineFinder, add_nameless, load_frames
from collector.sources.model import Build, Line, Notice, SourceListing, SourceQuestion
from collector.sources.texts import SourceTexts, Text
from fleetprof.errors import InputError
from fleetprof.frames import Frame

LINES_BEFORE, LINES_AFTER = 8, 24
"""Text that is shown beside the lines that have a value."""
LINES_WITHOUT_VALUES = 80
MAX_SHOWN = 2_000


class Sources:
    """Lists functions. Safe to use from several threads; `close` ends what it runs."""

    def __init__(self, files: DebugFiles, workers: Workers, texts: SourceTexts) -> None:
        self._finder, self._workers, self._texts = LineFinder(files, workers), workers, texts

    def close(self) -> None:
        """End what runs."""
        self._workers.close()

    def listing(self, querier: Querier, question: SourceQuestion) -> SourceListing:
        """A function by line; raises InputError for one that is not known, and UnavailableError."""
        inside = load_inside(querier.asking, question.query, question.function, question.mapping)
        if not inside.named:
            where = f" in {question.mapping}" if question.mapping else ""
            raise InputError(
                f'No function is called "{question.function}"{where}.',
                "Give its whole name, as the flame graph or `fleetprof top` shows it.",
            )
        nameless = _by_build(querier, inside)
        builds = self._builds(inside, nameless)
        build_id = _chosen(builds, question.build_id)
        found = self._by_line(querier, question, inside, nameless.get(build_id, []), build_id)
        return self._listing(querier, question.query, inside, builds, build_id, found)

    def _builds(self, inside: Inside, nameless: dict[str, list[Nameless]]) -> list[Build]:
        values: dict[str, int] = {}
        for place in inside.places:
            values[place.build_id] = values.get(place.build_id, 0) + place.value
        for build_id, frames in nameless.items():
            values[build_id] = values.get(build_id, 0) + sum(inside.own[frame.id] for frame in frames)
        ordered = sorted(values, key=lambda build_id: (-values[build_id], build_id))
        return [
            Build(build_id, values[build_id], build_id in nameless or self._finder.knows_lines(build_id))
            for build_id in ordered
        ]

    def _by_line(
        self,
        querier: Querier,
        question: SourceQuestion,
        inside: Inside,
        nameless: list[Nameless],
        build_id: str,
    ) -> ByLine:
        found = ByLine()
        places = [place for place in inside.places if place.build_id == build_id]
        if places:
            self._finder.add_places(found, question.function, build_id, places)
        add_nameless(found, inside, querier.names, nameless)
        return found

    def _listing(
        self,
        querier: Querier,
        query: Query,
        inside: Inside,
        builds: list[Build],
        build_id: str,
        found: ByLine,
    ) -> SourceListing:
        frame, own = _heaviest(inside), sum(inside.own.values())
        file = found.heaviest_file or frame.file
        start = max(
            (line for name, line in found.start_lines if name == file),
            key=lambda line: found.start_lines[file, line],
            default=frame.line if frame.file == file else 0,
        )
        versions = load_versions(querier.asking, query, inside, build_id)
        text = self._texts.find(file, build_id, versions) if file else None
        lines = _lines(found, file, start, text)
        placed = {name: sum(tally.value for tally in each.values()) for name, each in found.files.items()}
        listing = SourceListing(
            frame=frame,
            own=own,
            builds=builds,
            build_id=build_id,
            file=file,
            start_line=start,
            lines=lines,
            hottest=max(
                (line for line in lines if line.value), key=lambda line: line.value, default=_NO
            ).number,
            elsewhere=sum(placed.values()) - placed.get(file, 0),
            unplaced=max(own - sum(placed.values()), 0),
            text_from=text.origin if text else "",
        )
        listing.notices.extend(self._notices(query, inside, listing, found, versions))
        return listing

    def _notices(
        self,
        query: Query,
        inside: Inside,
        listing: SourceListing,
        found: ByLine,
        versions: list[tuple[str, str]],
    ) -> list[Notice]:
        notices = [words.about_lines(query, listing, found.problem)]
        if listing.file and not listing.text_from:
            notices.append(words.about_text(listing, versions, self._texts.asks_servers))
        return [notice for notice in notices if notice]


_NO = Line(0, None, 0, ())


def _by_build(querier: Querier, inside: Inside) -> dict[str, list[Nameless]]:
    """The frames without a name that are in the selection, by build."""
    frames = load_frames(querier.names, [frame.id for frame in inside.nameless])
    found: dict[str, list[Nameless]] = {}
    for nameless, frame in zip(inside.nameless, frames, strict=True):
        found.setdefault(frame.build_id, []).append(nameless)
    return found


def _chosen(builds: list[Build], wanted: str) -> str:
    if wanted:
        if wanted not in [build.build_id for build in builds]:
            raise InputError(
                f"The function spends no time in build {wanted} here.",
                "Choose one of the builds that are listed, or another time range.",
            )
        return wanted
    known = [build for build in builds if build.lines_known] or builds
    return known[0].build_id if known else ""


def _heaviest(inside: Inside) -> Frame:
    """What stands for the function: its frame with most time."""
    ids = list(inside.named)
    return inside.named[max(ids, key=lambda id_: (inside.own.get(id_, 0), bool(inside.named[id_].file), id_))]


def _lines(found: ByLine, file: str, start: int, text: Text | None) -> list[Line]:
    tallies = found.files.get(file, {})
    if text is None:
        return [_line(number, None, found, file) for number in sorted(tallies)]
    first, last = _passage(sorted(tallies), start, len(text.lines))
    if last - first >= MAX_SHOWN:
        hottest = max(tallies, key=lambda number: tallies[number].value)
        first = max(first, min(hottest - MAX_SHOWN // 2, last - MAX_SHOWN + 1))
        last = min(last, first + MAX_SHOWN - 1)
    lines = [_line(number, text.lines[number - 1], found, file) for number in range(first, last + 1)]
    beyond = [number for number in sorted(tallies) if number < first or number > last]
    return sorted([*lines, *(_line(number, None, found, file) for number in beyond)])


def _passage(valued: list[int], start: int, end: int) -> tuple[int, int]:
    """The first and last line of the text to show."""
    if not valued:
        return max(min(start, end) - LINES_BEFORE, 1), min(max(start, 1) + LINES_WITHOUT_VALUES, end)
    first = min(valued[0], start) if start else valued[0]
    return max(min(first, end) - LINES_BEFORE, 1), min(valued[-1] + LINES_AFTER, end)


def _line(number: int, text: str | None, found: ByLine, file: str) -> Line:
    tally = found.files.get(file, {}).get(number)
    if tally is None:
        return Line(number, text, 0, ())
    return Line(number, text, tally.value, tuple(tally.inlined.most_common()))
