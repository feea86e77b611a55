"""Answers about stacks: the profile in several formats, and the top table."""

from collector.query.flame import build_flame, to_wire
from collector.query.model import Completeness, Json, Profile, Query, TimeRange, TopRow
from collector.query.querier import Querier
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason


def profile_json(profile: Profile, min_share: float, root: tuple[str, ...], explanation: str) -> Json:
    """The flame graph's tree with what is known about its quality."""
    return {
        "flame": to_wire(build_flame(profile, min_share, root or None)),
        "range": range_json(profile.query.range),
        "captures": profile.captures,
        "resolution": profile.resolution,
        "exact": profile.exact,
        "completeness": completeness_json(profile.completeness),
        "explanation": explanation,
    }


def completeness_json(completeness: Completeness) -> Json:
    """Windows received and expected, and each loss with its reason in words, most frequent first."""
    losses = sorted(completeness.losses.items(), key=lambda item: -item[1])
    return {
        "share": completeness.share,
        "hosts": completeness.hosts,
        "windows_expected": completeness.windows_expected,
        "windows_received": completeness.windows_received,
        "losses": [
            {"reason": label, "count": count, "explanation": _explain(label)}
            for label, count in losses
            if count
        ],
    }


def _explain(label: str) -> str:
    known = DropReason.__members__.get(label.upper())
    return known.explanation if known else f"Lost for a reason that this version does not know: {label}."


def range_json(range: TimeRange) -> Json:
    """The absolute range, Unix seconds."""
    return {"start_s": range.start_s, "end_s": range.end_s}


def top_json(querier: Querier, query: Query, limit: int, sort: str) -> Json:
    """Functions with their own and their total time."""
    rows, total = querier.top(query, limit, "total" if sort == "total" else "self")
    return {
        "range": range_json(query.range),
        "unit": query.selection.unit,
        "total": total,
        "rows": [_row_json(row) for row in rows],
    }


def _row_json(row: TopRow) -> Json:
    return {**frame_json(row.frame), "self": row.self_value, "total": row.total_value}


def frame_json(frame: Frame) -> Json:
    """What a frame is, for people."""
    is_label = frame.kind is FrameKind.LABEL
    return {
        "name": frame.name,
        "kind": frame.kind.name.lower() if frame.function or is_label else "unknown",
        "mapping": frame.mapping,
        "location": f"{frame.file}:{frame.line}" if frame.file and frame.line else frame.file,
    }
