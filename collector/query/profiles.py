"""Profiles: sums by stack from the store, joined with what the stacks mean."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.query.asking import Asking
from collector.query.completeness import Coverage
from collector.query.definitions import StackFrames, find_sorted, take_ragged
from collector.query.frame_names import FrameNames
from collector.query.model import Profile, Query
from collector.query.named import load_named
from collector.query.segments import stack_segments
from collector.query.sources import Binds, Segment, resolution_of, union_sql
from fleetprof.frames import UNSAMPLED, Frame, FrameKind

U64 = npt.NDArray[np.uint64]

OTHER = Frame(FrameKind.LABEL, "(other)", "")
"""Stands for all stacks beyond the limit of a profile."""
UNDEFINED_STACK = Frame(FrameKind.LABEL, "(undefined stack)", "")
"""Stands for samples whose stack the store has no definition of."""


@dataclass(frozen=True, slots=True)
class StackSums:
    """Values by service and stack: row i belongs to services[service[i]]."""

    services: list[str]
    service: npt.NDArray[np.int32]
    stack: U64
    value: U64
    captures: U64

    def take(self, rows: npt.NDArray[np.integer]) -> "StackSums":
        """Only `rows`, in that order."""
        return StackSums(
            self.services, self.service[rows], self.stack[rows], self.value[rows], self.captures[rows]
        )


def load_sums(asking: Asking, query: Query, segments: list[Segment]) -> StackSums:
    """All of the query's sums, by service (ascending) and stack id."""
    binds = Binds()
    union = union_sql(query, segments, ("service", "stack"), binds)
    found = asking.ask(
        "SELECT service, groupArray(stack) AS stacks, groupArray(value) AS values, "
        "groupArray(capture) AS captures FROM "
        f"(SELECT service, stack, sum(v) AS value, sum(c) AS capture FROM {union} GROUP BY service, stack) "
        "GROUP BY service ORDER BY service",
        binds,
    )
    services = [str(name) for name in found["service"]]
    counts = [len(stacks) for stacks in found["stacks"]]
    columns = [
        np.concatenate([np.empty(0, np.uint64), *(np.asarray(part, np.uint64) for part in found[name])])
        for name in ("stacks", "values", "captures")
    ]
    service = np.repeat(np.arange(len(services), dtype=np.int32), counts)
    sums = StackSums(services, service, *columns)
    return sums.take(np.lexsort((sums.stack, sums.service)))


def load_profile(
    asking: Asking,
    names: FrameNames,
    query: Query,
    coverage: Coverage,
    max_stacks: int | None,
    split_services: bool,
    segments: list[Segment] | None = None,
) -> Profile:
    """The query's profile with its `max_stacks` heaviest stacks (None: all); the rest is one "(other)".

    `segments` cover the query's range; by default they are chosen here.
    """
    segments = segments or stack_segments(asking, query)
    sums = load_sums(asking, query, segments)
    kept = sums.take(_heaviest(sums.value, max_stacks))
    rest = int(sums.value.sum()) - int(kept.value.sum())
    binds = Binds()
    chosen_by = f"SELECT stack FROM {union_sql(query, segments, ('stack',), binds)}"
    stacks = names.stacks.load(sums.services, kept.stack, (chosen_by, binds))
    split = split_services and len(sums.services) > 1
    frames, frame_index, starts = _assemble(names, kept, stacks, split)
    values, captures = kept.value, kept.captures
    if rest:
        frame_index = np.append(frame_index, np.int32(len(frames)))
        starts = np.append(starts, starts[-1] + 1)
        values = np.append(values, np.uint64(rest))
        captures = np.append(
            captures, sums.captures.sum(dtype=np.uint64) - kept.captures.sum(dtype=np.uint64)
        )
        frames.append(OTHER)
    return Profile(
        query=query,
        frames=frames,
        frame_index=frame_index,
        starts=starts,
        values=values,
        captures=int(sums.captures.sum()),
        resolution=resolution_of(segments),
        exact=coverage.exact,
        completeness=coverage.completeness,
        stack_captures=captures,
    )


def _heaviest(values: U64, limit: int | None) -> npt.NDArray[np.int64]:
    """The rows of the `limit` largest values, in their old order (of equal ones the first)."""
    if limit is None or len(values) <= limit:
        return np.arange(len(values))
    falling = np.argsort(~values, kind="stable")
    return np.sort(falling[: max(limit, 0)])


def _assemble(
    names: FrameNames, sums: StackSums, stacks: StackFrames, split: bool
) -> tuple[list[Frame], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """(frames, frame_index, starts) of the sums' stacks, with the service as outermost frame if `split`."""
    frames, codes, bounds = load_named(names, stacks)
    unsampled, undefined, first_service = len(frames), len(frames) + 1, len(frames) + 2
    frames += [UNSAMPLED, UNDEFINED_STACK]
    # Two more rows stand behind the defined stacks: the empty stack and the undefined one.
    flat = np.append(codes, np.array([unsampled, undefined], np.int32))
    starts = np.append(bounds, bounds[-1] + np.array([1, 2]))
    rows, found = find_sorted(stacks.ids, sums.stack)
    rows = np.where(found, rows, len(stacks.ids) + 1)
    rows[sums.stack == 0] = len(stacks.ids)
    frame_index, new_starts = take_ragged(flat, starts, rows, gap=int(split))
    if split:
        frame_index[new_starts[1:] - 1] = first_service + sums.service
        frames += [Frame(FrameKind.LABEL, service, "") for service in sums.services]
    return frames, frame_index, new_starts
