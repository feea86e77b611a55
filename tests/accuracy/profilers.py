"""Runs fleetprof's agent and perf side by side on one process, and reads what they saw as folded stacks."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

Folded = Counter[tuple[str, ...]]
"""Stack (root first) → value."""


def start_agent(backend: str, pid: int, seconds: float, output: Path) -> subprocess.Popen[str]:
    """Start `fleetprof-agent record` of one process with one backend."""
    return subprocess.Popen(
        [sys.executable, "-m", "agent", "record", "--backend", backend, "--pid", str(pid)]
        + ["--duration", f"{seconds}s", "--output", str(output)],
        stderr=subprocess.PIPE,
        text=True,
    )


def read_folded(path: Path) -> Folded:
    """The stacks of a .folded file, without the process at their root."""
    found: Folded = Counter()
    for line in path.read_text().splitlines():
        stack, _, value = line.rpartition(" ")
        found[tuple(stack.split(";")[1:])] += int(value)
    return found


def start_perf(pid: int, seconds: float, output: Path) -> subprocess.Popen[str] | None:
    """Start `perf record -F 99 -g` of one process; None where perf is not installed."""
    if not shutil.which("perf"):
        return None
    return subprocess.Popen(
        ["perf", "record", "-q", "-F", "99", "-g", "-e", "cpu-clock", "-p", str(pid), "-o", str(output)]
        + ["--", "sleep", str(seconds)],
        stderr=subprocess.PIPE,
        text=True,
    )


def read_perf(path: Path) -> Folded:
    """The stacks of a perf.data file, one count a sample."""
    text = subprocess.run(
        ["perf", "script", "-i", str(path), "-F", "ip,sym", "--no-inline"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PAGER": "cat"},
    ).stdout
    found: Folded = Counter()
    for sample in text.split("\n\n"):
        frames = [_name(line) for line in sample.splitlines() if line.strip()]
        if frames:
            found[tuple(reversed(frames))] += 1
    return found


def _name(line: str) -> str:
    """The function of one line of `perf script`; of aliases in the vdso it names the other one than we do."""
    return line.split(None, 1)[-1].strip().removeprefix("__vdso_")


def inclusive(stacks: Folded, function: str) -> int:
    """The value of all stacks that `function` is on."""
    return sum(value for stack, value in stacks.items() if function in stack)


def self_values(stacks: Folded) -> Counter[str]:
    """Value by leaf function."""
    found: Counter[str] = Counter()
    for stack, value in stacks.items():
        found[stack[-1]] += value
    return found
