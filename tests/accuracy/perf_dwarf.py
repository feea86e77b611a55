"""`perf record --call-graph dwarf`: what perf makes of copies of a program's stacks, as a second opinion on whole
stacks and on who spends the time."""

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.process import Mapping
from tests.accuracy.statistics import two_shares_z

FREQUENCY_HZ = 199 if os.environ.get("FLEETPROF_SLOW") == "1" else 79
COPIED_BYTES = 16_384
"""Of each sample's stack; deeper ones break off."""
TOP = 20
LEAST_HITS = 5
"""Below, a share's error is not normal."""

_QUIET: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
NamedStack = tuple[str, ...]
"""Functions, leaf first."""


class PerfDwarf:
    """perf, recording the user side of one process from construction to `stop`; `available` tells whether it is
    installed."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._data = folder / "perf.data"
        self.available = bool(shutil.which("perf"))
        self._control: list[int] = []
        """Our ends of its pipes for orders and answers: it ends when they are closed."""
        self._perf = self._start(pid) if self.available else None

    def _start(self, pid: int) -> "subprocess.Popen[bytes]":
        """perf, which records once this returns: on a busy host it takes seconds to get there."""
        orders, answers = os.pipe(), os.pipe()
        self._control += [orders[1], answers[0]]
        try:
            command = ["perf", "record", "-q", "-F", str(FREQUENCY_HZ), "-e", "cpu-clock:u"]
            command += ["-k", "CLOCK_MONOTONIC", "--call-graph", f"dwarf,{COPIED_BYTES}", "-p", str(pid)]
            command += ["--delay", "-1", "--control", f"fd:{orders[0]},{answers[1]}", "-o", str(self._data)]
            started = subprocess.Popen(
                [*command, "--", "sleep", "300"], **_QUIET, pass_fds=(orders[0], answers[1])
            )
        finally:
            os.close(orders[0])
            os.close(answers[1])
        with suppress(BrokenPipeError):
            os.write(orders[1], b"enable\n")
            os.read(answers[0], 8)  # nothing, if it ended
        return started

    def stop(self) -> None:
        """End recording; safe to call twice."""
        if self._perf:
            with suppress(ProcessLookupError):
                self._perf.send_signal(signal.SIGINT)
            self._perf.wait()
        while self._control:
            os.close(self._control.pop())

    def stacks(self, mappings: list[Mapping], since_ns: int, until_ns: int) -> list[list[int]]:
        """Addresses of each sample of this time (monotonic clock), leaf first; callers' are inside of their call.

        `mappings` are the process's: perf tells where in its file an address lies.
        """
        if not self.available:
            return []
        command = [
            "perf",
            "script",
            "-i",
            str(self._data),
            "-F",
            "time,ip,dso",
            "--ns",
            "--no-inline",
            "--max-stack",
            "512",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        inside = [part for part in done.stdout.split("\n\n") if since_ns <= _time_ns(part) < until_ns]
        samples = [_FRAME.findall(part) for part in inside]
        return [[_addr(int(ip, 16), path, mappings) for ip, path in frames] for frames in samples if frames]


def _time_ns(sample: str) -> int:
    """When a sample was taken; -1 for what is none."""
    found = _TIME.match(sample)
    return int(found[1]) * 1_000_000_000 + int(found[2]) if found else -1


_TIME = re.compile(r"\s*(\d+)\.(\d{9}):")
_FRAME = re.compile(r"^\s+([0-9a-f]+) \((.*)\)$", re.MULTILINE)


def _addr(ip: int, path: str, mappings: list[Mapping]) -> int:
    """An address in the process; perf shows those in memory that is no file as they are."""
    for mapping in mappings:
        inside = ip - mapping.file_offset
        if mapping.path == path and 0 <= inside < mapping.end_addr - mapping.start_addr:
            return mapping.start_addr + inside
    return ip


@dataclass(frozen=True, slots=True)
class Difference:
    """The function on whose share two profilers differ most, in standard errors."""

    z: float
    function: str
    compared: int


def largest_difference(ours: list[NamedStack], theirs: list[NamedStack], inclusive: bool) -> Difference:
    """Compare the shares of the functions with most samples: at the leaf only, or anywhere with `inclusive`."""
    counts = [_hits(stacks, inclusive) for stacks in (ours, theirs)]
    top = [name for name, hits in (counts[0] + counts[1]).most_common(TOP) if hits >= 2 * LEAST_HITS]
    if not ours or not theirs or not top:
        return Difference(0.0, "", 0)
    found = [
        (abs(two_shares_z(counts[0][name], len(ours), counts[1][name], len(theirs))), name) for name in top
    ]
    return Difference(*max(found), len(found))


def _hits(stacks: list[NamedStack], inclusive: bool) -> Counter[str]:
    return Counter(name for stack in stacks for name in (set(stack) if inclusive else stack[:1]))
