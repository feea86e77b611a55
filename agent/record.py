"""`fleetprof-agent record`: sample for a while and write one profile, without a collector.

The same pipeline as `run`; its windows are added up in memory and written as pprof or folded stacks. A stack
ends in the name of its process, as `perf script | stackcollapse-perf.pl` writes it.
"""

import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from agent.aggregate import ClosedWindow
from agent.assemble import Assembly
from agent.config import AgentConfig
from agent.pipeline import Pipeline
from fleetprof.errors import InputError, UnavailableError
from fleetprof.formats import folded, pprof
from fleetprof.formats.stack_profile import SAMPLES_COUNT, StackProfile, ValueType, from_stacks
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import Losses
from fleetprof.profile_types import Selection, selection
from fleetprof.setting_kinds import parse_duration_s

LONGEST_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """What to record: for how long, of which processes (all when empty), and where to."""

    seconds: float
    output: Path
    selection: Selection
    pids: tuple[int, ...]

    @classmethod
    def parse(cls, duration: str, output: str, type_name: str, pids: list[int]) -> "RecordRequest":
        """Check what was asked for; raises InputError before anything is sampled."""
        path = Path(output)
        if not path.name.endswith((".pb.gz", ".folded")):
            raise InputError(
                f'The format of "{output}" is not known.', "Name the file *.pb.gz (pprof) or *.folded."
            )
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"The folder {path.parent} cannot be written to.", "Choose another with -o.")
        return cls(_seconds(duration), path, selection(type_name), tuple(_alive(pid) for pid in pids))


def _seconds(text: str) -> float:
    try:
        seconds = float(text) if text.replace(".", "", 1).isdigit() else parse_duration_s(text)
    except ValueError as error:
        raise InputError(f"--duration {text} {error}.", "Write for example 10s or 2m.") from None
    if not 0.1 <= seconds <= LONGEST_S:
        raise InputError(f"--duration {text} is out of range.", "From 100ms to 24h.")
    return seconds


def _alive(pid: int) -> int:
    if not Path(f"/proc/{pid}").exists():
        raise InputError(f"There is no process {pid}.", "Choose one that runs (pgrep, ps).")
    return pid


Stack = tuple[Frame, ...]


class Recording:
    """Adds up windows. `values` and `captures` are keyed by stack, leaf first, the process's name last."""

    def __init__(self, wanted: Selection) -> None:
        self._types = set(wanted.types)
        self.values: Counter[Stack] = Counter()
        self.captures: Counter[Stack] = Counter()
        self.losses = Losses()
        self.exact = True

    def add(self, window: ClosedWindow) -> None:
        """Take in one window."""
        self.losses.update(window.losses)
        self.exact &= window.cpu_exact
        rows = window.rows
        columns = (rows.series, rows.stack, rows.type, rows.value, rows.captures)
        for series, stack, kind, value, captures in zip(*(c.tolist() for c in columns), strict=True):
            if kind in self._types:
                key = self._stack(window, series, stack)
                self.values[key] += value
                self.captures[key] += captures

    def _stack(self, window: ClosedWindow, series: int, stack: int) -> Stack:
        process = window.series[series].get("process", "")
        frames = tuple(window.frames[frame] for frame in window.stacks[stack])
        return (*frames, Frame(FrameKind.LABEL, process or "(unknown)", ""))


def record(config: AgentConfig, request: RecordRequest) -> str:
    """Sample, write the file, and return a sentence about it."""
    recording = Recording(request.selection)
    began_ns = time.time_ns()
    with Assembly(config, only_pids=request.pids) as assembly:
        pipeline = Pipeline(assembly.parts, recording.add)
        timer = threading.Timer(request.seconds, pipeline.stop)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: pipeline.stop())
        timer.start()
        pipeline.run()
        timer.cancel()
        period_ns = assembly.parts.backend.period_ns
    profile = _profile(recording, request, period_ns, began_ns, time.time_ns() - began_ns)
    _write(request.output, profile)
    return _summary(recording, request)


def _profile(
    recording: Recording, request: RecordRequest, period_ns: int, began_ns: int, duration_ns: int
) -> StackProfile:
    kind = ValueType(request.selection.name, request.selection.unit)
    stacks = list(recording.values)
    return from_stacks(
        stacks,
        [[recording.captures[stack], recording.values[stack]] for stack in stacks],
        (SAMPLES_COUNT, kind),
        period_type=kind,
        period=period_ns,
        time_ns=began_ns,
        duration_ns=duration_ns,
    )


def _write(path: Path, profile: StackProfile) -> None:
    data = folded.encode(profile, 1) if path.name.endswith(".folded") else pprof.encode(profile)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UnavailableError(
            f"{path} cannot be written: {error.strerror}.", "Choose another with -o."
        ) from error


def _summary(recording: Recording, request: RecordRequest) -> str:
    seconds = recording.values.total() / 1e9
    text = (
        f"{request.output}: {seconds:.2f} s of {request.selection.title.lower()} in "
        f"{len(recording.values)} stacks from {recording.captures.total()} samples"
        f"{'' if recording.exact else ' (sampled, not scaled to exact times)'}."
    )
    lost = [f"{count} {reason.label}" for reason, count in sorted(recording.losses.items()) if count]
    return f"{text} Lost: {', '.join(lost)}." if lost else text
