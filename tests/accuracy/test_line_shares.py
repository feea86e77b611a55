"""A function whose lines say themselves what CPU time they get, as the agent's places see them."""

import os
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest

from agent.aggregate import ClosedWindow
from agent.assemble import Assembly
from agent.config import TABLE, AgentConfig
from agent.pipeline import Pipeline
from fleetprof.profile_types import ProfileType
from fleetprof.settings import load_settings
from tests.accuracy.statistics import share_z
from tests.workloads.build import SOURCES, tool

pytestmark = [pytest.mark.accuracy, pytest.mark.kernel]

SECONDS = float(os.environ.get("FLEETPROF_ACCURACY_SECONDS", "4"))
HZ = 499
MAX_Z = 4.5


def windows_of(program: Path, folder: Path) -> tuple[list[ClosedWindow], list[int]]:
    """(the windows of one run, what its lines got in nanoseconds)."""
    started = subprocess.Popen(
        [program, str(SECONDS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    flags = {"backend": "perf", "source_lines": "1000", "frequency_hz": str(HZ), "state_dir": str(folder)}
    config = load_settings(TABLE, AgentConfig, flags, {}).config
    windows: list[ClosedWindow] = []
    try:
        with Assembly(config, only_pids=(started.pid,)) as assembly:
            pipeline = Pipeline(assembly.parts, windows.append)
            running = threading.Thread(target=pipeline.run)
            running.start()
            assert started.stdin
            assert started.stdout
            started.stdin.write("\n")
            started.stdin.flush()
            spent = [int(each) for each in started.stdout.readline().split()]
            pipeline.stop()
            running.join(60)
            assert not running.is_alive()
    finally:
        started.kill()
        started.wait()
    return windows, spent


def test_lines_have_the_shares_that_they_measure_themselves(tmp_path: Path) -> None:
    program = tmp_path / "lines"
    source = SOURCES / "lines.c"
    subprocess.run(
        [tool("gcc"), "-O1", "-g", "-fno-omit-frame-pointer", "-Wl,--build-id", "-o", program, source],
        check=True,
    )
    windows, spent = windows_of(program, tmp_path)
    of_offset, of_rows = Counter[int](), 0
    for window in windows:
        leaf = [window.frames[ids[0]].function if ids else "" for ids in window.stacks]
        rows = window.rows
        for stack, kind, value in zip(
            *(c.tolist() for c in (rows.stack, rows.type, rows.value)), strict=True
        ):
            of_rows += value if kind == ProfileType.CPU and leaf[stack] == "work" else 0
        if places := window.places:
            columns = (places.stack, places.offset, places.value)
            for stack, offset, value in zip(*(c.tolist() for c in columns), strict=True):
                of_offset[offset] += value if leaf[stack] == "work" else 0
    assert of_offset.total() == of_rows > 0.5 * 1e9 * SECONDS
    shares = by_line(program, of_offset)
    marked = [number for number, text in enumerate(source.read_text().splitlines(), 1) if "/* line" in text]
    whole, samples = sum(spent), of_rows * HZ / 1e9
    for line, truth in zip(marked, spent, strict=True):
        z = share_z(shares[line] / of_rows * samples, samples, truth / whole)
        print(f"line {line}: {shares[line] / of_rows:.4f} of {truth / whole:.4f}, z {z:+.2f}")
        assert abs(z) < MAX_Z


def by_line(program: Path, of_offset: Counter[int]) -> Counter[int]:
    """Line → value; the program's code lies in its file as in memory."""
    command = [tool("addr2line"), "-e", str(program), *map(hex, of_offset)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = Counter[int]()
    for text, value in zip(out, of_offset.values(), strict=True):
        found[int(text.partition(" (")[0].rpartition(":")[2].replace("?", "0"))] += value
    return found
