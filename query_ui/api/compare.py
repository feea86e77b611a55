"""Answers about two selections: what changed, as JSON, as folded stacks with two values, or as pprof."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.compare.compare import compare
from collector.compare.diff_export import diff_folded, diff_pprof
from collector.compare.diff_flame import diff_flame, diff_wire
from collector.compare.model import Arm, Comparison, CpuChange, Effects, Method, Shift
from collector.compare.regressions import find_regressions
from collector.compare.units import Unit
from collector.query.model import Json, Profile, Query
from collector.query.querier import Querier
from collector.query.segments import share_segments, stack_segments
from collector.query.selector import format_selector
from fleetprof.frames import Frame, FrameKind
from query_ui.api.profiles import completeness_json, range_json

FORMATS = ("json", "folded", "pprof")


@dataclass(frozen=True, slots=True)
class Shape:
    """What shapes the answer: how many movers, and which part of the tree."""

    limit: int
    min_share: float
    root: tuple[str, ...]


def compare_with_profiles(
    querier: Querier, a: Query, b: Query, unit: Unit
) -> tuple[Comparison, tuple[Profile, Profile]]:
    """The comparison, and both profiles, which are loaded meanwhile: the one waits for the store where the other
    reckons.

    Raises InputError as `compare` does.
    """
    with ThreadPoolExecutor(1, "profiles") as meanwhile:
        profiles = meanwhile.submit(load_profiles, querier, a, b)
        return compare(querier, a, b, unit), profiles.result()


def load_profiles(querier: Querier, a: Query, b: Query) -> tuple[Profile, Profile]:
    """Both profiles, split by service only where both choose their services alike; a comparison knows how complete
    they are."""
    split = a.matchers == b.matchers
    segments = stack_segments(querier.asking, a) if share_segments(a, b) else None
    one, other = (
        querier.profile(each, split_services=split, covered=False, segments=segments) for each in (a, b)
    )
    return one, other


def diff_json(comparison: Comparison, profiles: tuple[Profile, Profile], shape: Shape) -> Json:
    """The comparison with its movers, and the tree of both profiles."""
    return {
        "unit": comparison.unit,
        "a": _arm_json(comparison.a),
        "b": _arm_json(comparison.b),
        "verdict": comparison.verdict,
        "visible": comparison.visible,
        "can_tell": comparison.can_tell,
        "method": _method_json(comparison.method),
        "cpu": _cpu_json(comparison.cpu),
        **_movers(comparison, shape.limit),
        "shifts": [
            _shift_json(shift) for shift in find_regressions(comparison, q=comparison.method.q).shifts
        ],
        "flame": diff_wire(diff_flame(*profiles, shape.min_share, shape.root or None)),
    }


def diff_file(profiles: tuple[Profile, Profile], format: str) -> tuple[bytes, str, str]:
    """(data, content type, suffix) of both profiles for other tools."""
    if format == "folded":
        return diff_folded(*profiles), "text/plain; charset=utf-8", "folded"
    return diff_pprof(*profiles), "application/octet-stream", "pb.gz"


def _method_json(method: Method) -> Json:
    return {
        "sentence": method.sentence,
        "clusters": method.clusters,
        "paired": method.paired,
        "concurrent": method.concurrent,
        "slice_s": method.slice_s,
        "factor": number(method.factor),
        "false_discovery_rate": method.q,
    }


def _cpu_json(cpu: CpuChange) -> Json:
    figures = ("a", "b", "delta", "low", "high", "p", "detectable")
    return {**{name: number(getattr(cpu, name)) for name in figures}, "significant": cpu.significant}


def _arm_json(arm: Arm) -> Json:
    return {
        "query": format_selector(arm.query.matchers),
        "range": range_json(arm.query.range),
        "hosts": arm.hosts,
        "clusters": arm.clusters,
        "cores": arm.cores,
        "cores_per_host": arm.cores_per_host,
        "total": arm.total_ns,
        "captures": arm.captures,
        "completeness": completeness_json(arm.completeness),
    }


def _movers(comparison: Comparison, limit: int) -> Json:
    """Functions by the size of their change, those within noise last, and how many of each there are."""
    own, total = comparison.own, comparison.total
    moved = own.significant | total.significant
    size = np.maximum(np.abs(own.delta), np.abs(total.delta))
    order = np.lexsort((-size, ~moved))
    rows = order[:limit]
    parts = zip(rows.tolist(), _effects_json(own, rows), _effects_json(total, rows), strict=True)
    return {
        "movers": [
            {
                **_frame_json(comparison.frames[row]),
                "significant": bool(moved[row]),
                "self": of_self,
                "total": of_total,
            }
            for row, of_self, of_total in parts
        ],
        "functions": len(order),
        "moved": int(moved.sum()),
        "noise": int((~moved).sum()),
    }


def _frame_json(frame: Frame) -> Json:
    known = frame.function or frame.kind is FrameKind.LABEL
    return {
        "name": frame.name,
        "kind": frame.kind.name.lower() if known else "unknown",
        "mapping": frame.mapping,
        "location": f"{frame.file}:{frame.line}" if frame.file and frame.line else frame.file,
    }


def _shift_json(shift: Shift) -> Json:
    return {
        "source": _frame_json(shift.source),
        "target": _frame_json(shift.target),
        "amount": number(shift.amount),
        "net": number(shift.net),
    }


_FIELDS = ("a", "b", "delta", "low", "high", "net", "net_low", "net_high", "p", "q", "detectable")


def _effects_json(effects: Effects, rows: npt.NDArray[np.int64]) -> list[Json]:
    """The effects of `rows`, in their order."""
    columns = {name: [number(value) for value in getattr(effects, name)[rows].tolist()] for name in _FIELDS}
    columns |= {name: getattr(effects, name)[rows].tolist() for name in ("tested", "significant")}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def number(value: float) -> float | None:
    """A JSON number; null for what is not known."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
