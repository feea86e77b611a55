"""Speedscope's "sampled" profiles, for https://www.speedscope.app.

Format: https://github.com/jlfwong/speedscope/blob/main/src/lib/file-format-spec.ts.
"""

import json
from typing import Any

from fleetprof import __version__
from fleetprof.formats.stack_profile import StackProfile
from fleetprof.frames import Frame

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_UNITS = {"nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"}


def encode(profile: StackProfile, name: str) -> bytes:
    """JSON with one profile a value type; `name` is the title."""
    document = {
        "$schema": SCHEMA,
        "name": name,
        "exporter": f"fleetprof@{__version__}",
        "activeProfileIndex": 0,
        "shared": {"frames": [_frame(frame) for frame in profile.frames]},
        "profiles": [_sampled(profile, column, name) for column in range(len(profile.value_types))],
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _frame(frame: Frame) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": frame.name}
    if frame.file or frame.mapping:
        entry["file"] = frame.file or frame.mapping
    if frame.file and frame.line:
        entry["line"] = frame.line
    return entry


def _sampled(profile: StackProfile, column: int, name: str) -> dict[str, Any]:
    """One profile: samples are stacks of frame numbers, outermost first, with their weights."""
    starts, index = profile.starts.tolist(), profile.frame_index.tolist()
    weights = profile.values[:, column].tolist()
    value_type = profile.value_types[column]
    return {
        "type": "sampled",
        "name": f"{name} ({value_type.type})",
        "unit": value_type.unit if value_type.unit in _UNITS else "none",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": [index[starts[row] : starts[row + 1]][::-1] for row in range(len(profile))],
        "weights": weights,
    }
