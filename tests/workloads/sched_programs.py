"""Builds and drives tests/workloads/sched_*.c."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.workloads.build import SOURCES, tool


def compile_c(name: str, folder: Path) -> Path:
    """Build tests/workloads/NAME.c with frame pointers at fixed addresses; the program's path."""
    program = folder / name
    command = ["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-no-pie", "-pthread"]
    subprocess.run([tool("gcc"), *command, "-o", program, SOURCES / f"{name}.c"], check=True)
    return program


@dataclass(frozen=True, slots=True)
class Workload:
    """A running program that has printed "ready"."""

    process: subprocess.Popen[str]
    program: Path
    threads: tuple[tuple[str, int], ...]
    """(name, tid) of each thread, as printed."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def tids(self, prefix: str = "") -> list[int]:
        return [tid for name, tid in self.threads if name.startswith(prefix)]

    def command(self) -> None:
        """Send a line; see the program's comment for what it does then."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def results(self) -> dict[str, int]:
        """Wait for "done"; the name and number on each line before it."""
        return dict(_pairs(self.process, "done"))

    def functions(self) -> dict[str, range]:
        """Address range of each function, by name."""
        listed = subprocess.run(
            [tool("nm"), "-S", "--defined-only", self.program], check=True, capture_output=True, text=True
        )
        parts = [line.split() for line in listed.stdout.splitlines()]
        return {
            part[3]: range(int(part[0], 16), int(part[0], 16) + int(part[1], 16))
            for part in parts
            if len(part) == 4 and part[2] in "tT"
        }


def _pairs(process: subprocess.Popen[str], last: str) -> Iterator[tuple[str, int]]:
    assert process.stdout
    for line in process.stdout:
        if line.strip() == last:
            return
        name, number = line.split()
        yield name, int(number)
    raise AssertionError(f"the workload ended before it said {last}")


@contextmanager
def workload(program: Path, *arguments: str) -> Iterator[Workload]:
    """Run the program in its own folder until the block ends."""
    process = subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=program.parent,
    )
    try:
        yield Workload(process, program, tuple(_pairs(process, "ready")))
    finally:
        process.kill()
        process.communicate()
