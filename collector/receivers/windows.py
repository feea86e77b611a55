"""Foreign profiles → our own Push requests: from there on they take the path of our agents' windows.

A profile that spans several windows is spread over them: each of its samples falls, as a whole, into one window,
so that every window's share is right on average and all sums are exact. A sample that says when it was taken falls
where it says.

(agent_id, run_id, sequence) is made from the host and the content, so that the same request sent again, by a
client that had no answer, is the same windows and counts once. covered_ns is 0: nobody vouches that a foreign
profiler saw everything, and completeness is only asked of agents.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from collector.ingest.definitions import shown
from collector.ingest.refusal import malformed
from collector.receivers.foreign import Foreign, Row
from fleetprof.definitions import DefinitionWriter
from fleetprof.frames import Frame, frame_id, stack_id
from fleetprof.losses import DropReason
from fleetprof.profile_types import OFFSET_STEP_NS, WINDOW_NS
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.series import series_id
from fleetprof.v1 import ingest_pb2

LONGEST_NS = 3600 * 10**9
"""Longest time that one profile may span."""
MAX_SPREAD_ROWS = 2_000_000
AGENT = "import:"
"""Begins the agent id of what no agent of ours sent."""

_GOLDEN = 0.6180339887498949
_HOST_BYTES = 255
_KERNEL_MAPPINGS = ("[kernel", "[guest.kernel")
_BUILD_ID = re.compile(r"[0-9a-f]{0,128}")


def content_key(*parts: str | bytes) -> int:
    """A run id that the same content always gets; never 0."""
    hashed = blake2b(digest_size=8)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8, "little"))
        hashed.update(data)
    return int.from_bytes(hashed.digest(), "little") or 1


def make_requests(profiles: Iterable[Foreign], run_id: int, now_s: float) -> list[bytes]:
    """Push requests of all profiles of one foreign request: one a host and window, numbered in order.

    Profiles that do not say their time are of the window of `now_s`. Raises Refused.
    """
    drafts: dict[tuple[str, int, bool], _Draft] = {}
    for profile in profiles:
        host = fit_host(profile.labels.get("host", ""))
        cuts = profile.cut_stacks
        for start_s, rows in _by_window(profile, now_s).items():
            # What has no time is kept apart: sent again later, all else must have the same numbers.
            now = not (profile.start_ns or profile.end_ns)
            draft = drafts.setdefault((host, start_s * (not now), now), _Draft(host, start_s))
            draft.add(profile, rows)
            draft.cuts, cuts = draft.cuts + cuts, 0
    return [draft.encode(run_id, number) for number, draft in enumerate(drafts.values(), 1)]


def fit_host(name: str) -> str:
    """`name` as windows may hold it: printable, at most 255 bytes, not empty."""
    return shown(text(name)).encode()[:_HOST_BYTES].decode("utf-8", "ignore").strip() or "unknown_host"


def fit_frame(frame: Frame) -> Frame:
    """`frame` named as our agents name it: files without folders, "[kernel]", build ids in hex."""
    mapping = text(frame.mapping)
    if mapping.startswith(_KERNEL_MAPPINGS):
        mapping = "[kernel]"
    elif not mapping.startswith("["):
        mapping = mapping.rstrip("/").rpartition("/")[2]
    build_id = frame.build_id.lower()
    function = text(frame.function)
    return Frame(
        frame.kind,
        function if function or mapping or frame.offset else "[unknown]",
        mapping,
        build_id if _BUILD_ID.fullmatch(build_id) else "",
        0 if function else frame.offset,
        text(frame.file),
        frame.line,
    )


def text(name: str) -> str:
    """`name` as UTF-8 can say it."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _by_window(profile: Foreign, now_s: float) -> dict[int, list[Row]]:
    """Start of the window, Unix seconds → its rows."""
    if profile.end_ns - profile.start_ns > LONGEST_NS:
        raise malformed(
            f"A profile spans {(profile.end_ns - profile.start_ns) / 1e9:.0f} s; up to "
            f"{LONGEST_NS // 10**9} s are taken: send shorter ones."
        )
    now_ns = int(now_s * 10**9)
    start_ns = profile.start_ns or profile.end_ns or now_ns
    windows = list(_shares(start_ns, max(profile.end_ns, start_ns)))
    if len(profile.rows) * len(windows) > MAX_SPREAD_ROWS:
        raise malformed(
            f"A profile of {len(profile.rows)} rows spans {len(windows)} windows of 10 s: send shorter ones."
        )
    found: dict[int, list[Row]] = {}
    for place, row in enumerate(profile.rows):
        if row.at_ns:
            found.setdefault(row.at_ns // WINDOW_NS * 10, []).append(row)
        elif len(windows) == 1:
            found.setdefault(windows[0][0], []).append(row)
        else:
            for start_s, part in _spread(row, windows, (place + 1) * _GOLDEN % 1):
                found.setdefault(start_s, []).append(part)
    if len(found) > LONGEST_NS // WINDOW_NS + 1:
        raise malformed("The samples of a profile lie more than an hour apart.")
    return found


def _shares(start_ns: int, end_ns: int) -> Iterator[tuple[int, float]]:
    """The windows that a time touches, each with the share of the time up to its end."""
    first = start_ns // WINDOW_NS
    if end_ns <= (first + 1) * WINDOW_NS:
        yield first * 10, 1.0
        return
    for number in range(first, -(-end_ns // WINDOW_NS)):
        until = min((number + 1) * WINDOW_NS, end_ns)
        yield number * 10, (until - start_ns) / (end_ns - start_ns)


def _spread(row: Row, windows: list[tuple[int, float]], offset: float) -> Iterator[tuple[int, Row]]:
    """The row's samples over the windows: systematic sampling from `offset` (0 ≤ offset < 1) on."""
    units = max(row.captures, 1)
    before = value_before = 0
    for start_s, share in windows:
        until = units if share >= 1 else min(int(units * share + offset), units)
        value_until = row.value * until // units
        if until > before:
            captures = until - before if row.captures else 0
            yield start_s, Row(row.stack, value_until - value_before, captures, row.labels)
        before, value_before = until, value_until


@dataclass(slots=True)
class _Draft:
    """A Push request in the making."""

    host: str
    start_s: int
    frames: dict[Frame, tuple[Frame, int]] = field(default_factory=dict)
    """Frame as it was sent → as our agents name it, id."""
    stacks: dict[int, tuple[int, list[Frame]]] = field(default_factory=dict)
    """Id → place, frames."""
    series: dict[int, tuple[int, dict[str, str]]] = field(default_factory=dict)
    sums: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    """(series, type, stack) → value, captures."""
    offsets: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    period_ns: int = 0
    cuts: int = 0

    def add(self, profile: Foreign, rows: list[Row]) -> None:
        """Add those rows of a profile that belong to this window."""
        self.period_ns = self.period_ns or profile.period_ns
        stack_places: dict[int, int] = {}
        series_places: dict[object, int] = {}
        for row in rows:
            stack = stack_places.get(row.stack)
            if stack is None:
                stack = stack_places[row.stack] = self._stack(profile, row.stack)
            series = series_places.get(row.labels)
            if series is None:
                series = series_places[row.labels] = self._series(profile.labels, row)
            key = series, int(profile.type), stack
            sums = self.sums.setdefault(key, [0, 0])
            sums[0] += row.value
            sums[1] += row.captures
            if row.at_ns:
                step = row.at_ns % WINDOW_NS // OFFSET_STEP_NS
                self.offsets.setdefault(key, []).append(step)

    def _stack(self, profile: Foreign, place: int) -> int:
        known = [self._frame(profile.frames[number]) for number in profile.stacks[place]]
        number = stack_id([frame for _, frame in known])
        return self.stacks.setdefault(number, (len(self.stacks), [each for each, _ in known]))[0]

    def _frame(self, frame: Frame) -> tuple[Frame, int]:
        known = self.frames.get(frame)
        if known is None:
            fit = fit_frame(frame)
            known = self.frames[frame] = fit, frame_id(fit)
        return known

    def _series(self, labels: Mapping[str, str], row: Row) -> int:
        whole = {**labels, **dict(row.labels), "host": self.host}
        whole = {name: text(value) for name, value in whole.items() if value}
        number = series_id(whole)
        return self.series.setdefault(number, (len(self.series), whole))[0]

    def encode(self, run_id: int, sequence: int) -> bytes:
        """The request."""
        request = ingest_pb2.PushRequest(
            protocol_version=PROTOCOL_VERSION,
            agent_id=f"{AGENT}{content_key(self.host):016x}",
            run_id=run_id,
            sequence=sequence,
        )
        self._define(request.definitions)
        window = request.window
        window.start_unix_ns, window.host, window.period_ns = self.start_s * 10**9, self.host, self.period_ns
        window.stack_ids.extend(self.stacks)
        window.series_ids.extend(self.series)
        if self.cuts:
            window.losses.add(reason=int(DropReason.STACK_TRUNCATED), count=self.cuts)
        self._fill(window.samples)
        return request.SerializeToString()

    def _fill(self, samples: ingest_pb2.Samples) -> None:
        for (series, type_, stack), (value, captures) in self.sums.items():
            samples.series.append(series)
            samples.stack.append(stack)
            samples.type.append(type_)  # type: ignore[arg-type]
            samples.value.append(value)
            samples.captures.append(min(captures, 2**32 - 1))
        if self.offsets:
            for key in self.sums:
                steps = sorted(self.offsets.get(key, ()))
                samples.offset_count.append(len(steps))
                samples.offsets.extend(
                    step - before for step, before in zip(steps, [0, *steps[:-1]], strict=False)
                )

    def _define(self, message: ingest_pb2.Definitions) -> None:
        writer = DefinitionWriter(message)
        for _, frames in self.stacks.values():
            writer.stack(frames)
        for _, labels in self.series.values():
            writer.series(labels)
