"""Which share of frames has a name: Java, Node and a stripped Go program under load, each as one runs it, without a
flag but Node's --perf-basic-prof. The table is printed.

Counted are user frames and kernel frames of whole windows, once the programs are warm.
"""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.aggregate import ClosedWindow
from agent.assemble import Assembly
from agent.config import TABLE, AgentConfig
from agent.pipeline import Pipeline
from fleetprof.frames import Frame, FrameKind
from fleetprof.settings import load_settings
from tests.kernel.cpu_load import cpu_ns
from tests.workloads.build import SOURCES, running, tool

pytestmark = [pytest.mark.accuracy, pytest.mark.kernel]

WINDOWS = 1
SETTLED_CPU_NS = 8_000_000_000
"""Of the Java program, before windows count: what it compiles first and throws away soon is a matter of seconds."""
LEAST = 0.995
LEAST_FRAMES = 1000


def java(folder: Path) -> list[str]:
    subprocess.run([tool("javac"), "-d", str(folder), str(SOURCES / "LoadJava.java")], check=True)
    return [tool("java"), "-cp", str(folder), "LoadJava"]


def node(folder: Path) -> list[str]:
    return [tool("node"), "--perf-basic-prof", str(SOURCES / "load_node.js")]


def go(folder: Path) -> list[str]:
    out = folder / "load_go"
    flags = ["-buildvcs=false", "-ldflags=-s -w", "-o", str(out)]
    subprocess.run([tool("go"), "build", *flags, "."], cwd=SOURCES / "load_go", check=True)
    return [str(out)]


@dataclass
class Shares:
    """Frames of one process, weighted by samples."""

    named: int
    unnamed: Counter[str]
    kinds: Counter[FrameKind]
    frames: set[Frame]

    @property
    def total(self) -> int:
        return self.named + self.unnamed.total()

    @property
    def share(self) -> float:
        return self.named / max(self.total, 1)


def shares(windows: list[ClosedWindow], process: str) -> Shares:
    """What was named in the windows. A mark such as [truncated] is no frame."""
    found = Shares(0, Counter(), Counter(), set())
    for window in windows:
        columns = (window.rows.series, window.rows.stack, window.rows.captures)
        for series, stack, captures in zip(*(column.tolist() for column in columns), strict=True):
            if window.series[series].get("process") != process:
                continue
            for frame in (window.frames[number] for number in window.stacks[stack]):
                _add(found, frame, captures)
    return found


def _add(found: Shares, frame: Frame, captures: int) -> None:
    found.frames.add(frame)
    if frame.function:
        found.named += captures
        found.kinds[frame.kind] += captures
    elif frame.mapping not in ("[truncated]", "[process gone]"):
        found.unnamed[frame.mapping] += captures


@contextmanager
def sampling(pids: tuple[int, ...], folder: Path) -> Iterator[list[ClosedWindow]]:
    """An agent that samples some processes as `record --pid` does, and the windows that it has closed."""
    given = {"unwind": "auto", "state_dir": str(folder / "state"), "frequency_hz": "199", "sched": "false"}
    config = load_settings(TABLE, AgentConfig, given, {}, folder / "none.toml").config
    windows: list[ClosedWindow] = []
    with Assembly(config, only_pids=pids) as assembly:
        pipeline = Pipeline(assembly.parts, windows.append)
        runs = threading.Thread(target=pipeline.run)
        runs.start()
        try:
            yield windows
        finally:
            pipeline.stop()
            runs.join()


PROGRAMS = {"java": java, "node": node, "load_go": go}
"""By the name that their process gives itself."""


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> list[ClosedWindow]:
    """Of all programs at the same time, whole ones."""
    folder = tmp_path_factory.mktemp("named")
    commands = [start(folder) for start in PROGRAMS.values()]
    with ExitStack() as ending:
        pids = tuple(ending.enter_context(running(command, 400)).pid for command in commands)
        taken = ending.enter_context(sampling(pids, folder))
        wait(lambda: cpu_ns(pids[0]) > SETTLED_CPU_NS and len(taken) > 1)
        begun = len(taken) + 1
        wait(lambda: len(taken) >= begun + WINDOWS)
        found = taken[begun:]
    for pid in pids:
        Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)
    return found


def wait(until: Callable[[], bool]) -> None:
    """As tests.kernel.cpu_load.poll, with more patience: three programs share the CPUs with other tests."""
    deadline = time.monotonic() + 240
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.1)


_TABLE = [f"{'':<24}{'named':>9}{'frames':>9}  without a name"]


@pytest.mark.parametrize(
    ("process", "name", "kind", "least_kind"),
    [
        ("java", "java", FrameKind.JVM, 0.1),
        ("node", "node --perf-basic-prof", FrameKind.NODE, 0.02),  # most frames are V8's and node's own
        ("load_go", "go, stripped", FrameKind.GO, 0.5),
    ],
    ids=["java", "node", "go"],
)
def test_frames_have_names(
    windows: list[ClosedWindow], process: str, name: str, kind: FrameKind, least_kind: float
) -> None:
    found = shares(windows, process)
    told = ", ".join(f"{mapping} {count}" for mapping, count in found.unnamed.most_common(4))
    _TABLE.append(f"{name:<24}{found.share:>9.2%}{found.total:>9}  {told}")
    print("\n" + "\n".join(_TABLE), file=sys.stdout)
    assert found.total > LEAST_FRAMES
    assert found.kinds[kind] > least_kind * found.total
    assert found.share >= LEAST
