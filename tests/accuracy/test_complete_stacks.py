"""How many stacks reach the root of their thread: unwound by tables, along frame pointers, and as perf unwinds them
from copies of the stack (`perf record --call-graph dwarf`), all three at the same time on the same program; which
share of their frames has a name; and whether the functions have the same shares as perf sees.

A stack is complete when its outermost frame is where threads and processes begin. The table is printed.
`FLEETPROF_SLOW=1` takes all programs, and longer.
"""

import os
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agent.backends.core import CoreBackend
from agent.backends.interface import BackendOptions
from agent.resolve import OUTERMOST
from agent.samples import Captures, UserEnd, concat
from agent.symbolize.debug_files import find_debug_file
from agent.symbolize.elf import SHT_SYMTAB, ElfError, ElfFile, FileBytes
from fleetprof.frames import FrameKind
from tests.accuracy.perf_dwarf import Difference, NamedStack, PerfDwarf, largest_difference
from tests.accuracy.stack_programs import PROGRAMS, SOME, Program
from tests.kernel.cpu_load import cpu_ns, poll, rows_of
from tests.kernel.unwinding import Unwinding, unwinding

pytestmark = pytest.mark.accuracy

SLOW = os.environ.get("FLEETPROF_SLOW") == "1"
SECONDS = 3.0 if SLOW else 1.0
"""CPU time of the program that is looked at."""
LEAST_NAMED = 0.995
LARGEST_Z = 3.0
PERF_IS_WHOLE = 0.98
"""Where less of perf's stacks are complete, its shares of callers say nothing."""
STARTS = OUTERMOST | {"_dl_start_user", "_dl_relocate_static_pie", "thread_start"}
LOOP = "_PyEval_EvalFrameDefault"
"""The interpreter's, in whose place Python functions stand."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was found of one program. Shares are of stacks; `named` and `known` are of frames."""

    program: str
    complete: float
    told: float
    """Of stacks whose walk says that it ended at the root."""
    along_pointers: float
    by_perf: float
    named: float
    known: float
    """Of the frames in files whose symbols exist here; distributions strip theirs, and few have debug packages."""
    nameless: str
    own: Difference
    """Of functions' own time against perf's."""
    whole: Difference
    """Of their time with what they call; only where perf's stacks are complete, too."""
    samples: int

    def text(self) -> str:
        """A line of the table."""
        shares = (self.complete, self.told, self.along_pointers, self.by_perf)
        differences = [f"{one.z:>7.1f}" if one.compared else f"{'–':>7}" for one in (self.own, self.whole)]
        columns = [f"{self.program:<23}", *(f"{share:>8.1%}" for share in shares)]
        columns += [f"{share:>8.2%}" for share in (self.named, self.known)]
        return "".join([*columns, *differences, f"{self.samples:>8}  {self.nameless}"])


HEAD = (
    f"{'':<23}{'unwound':>8}{'told':>8}{'by fp':>8}{'perf':>8}{'named':>8}{'known':>8}"
    f"{'z own':>7}{'z all':>7}{'samples':>8}"
)
_TABLE: list[str] = [HEAD]


@pytest.mark.parametrize("program", PROGRAMS if SLOW else SOME, ids=lambda program: program.name)
def test_stacks_are_whole_named_and_true(program: Program, tmp_path: Path) -> None:
    for pid in program.start(tmp_path):
        row = measure(program.name, pid, tmp_path)
    _TABLE.append(row.text())
    print("\n" + "\n".join(_TABLE), file=sys.stdout)
    assert row.samples >= 30
    assert max(row.complete, row.told) >= program.least
    assert row.known >= LEAST_NAMED, row.nameless
    assert row.own.z < LARGEST_Z, row.own
    assert row.whole.z < LARGEST_Z, row.whole


def measure(name: str, pid: int, folder: Path) -> Row:
    """Sample a program in all three ways at once, and name what was found while it lives."""
    with unwinding(folder / "tables", only_pids=(pid,)) as agent:
        agent.follow(pid)
        perf = PerfDwarf(pid, folder)
        try:
            since_ns, unwound, walked = sample(agent, pid)
            until_ns = time.monotonic_ns()
        finally:
            perf.stop()
        agent.ask_names(unwound, pid)
        ours, theirs = native_stacks(agent, unwound), perf_stacks(agent, pid, perf, since_ns, until_ns)
        along_pointers = complete_share(native_stacks(agent, walked))
        stripped = stripped_files(agent, pid)
        named, known, nameless = named_shares(agent, unwound, stripped)
    has_stack = np.diff(unwound.user.starts) > 0
    in_user_mode = has_stack & (np.diff(unwound.kernel.starts) == 0)
    by_perf = complete_share(theirs)
    seen = [stack for stack, counts in zip(ours, in_user_mode.tolist(), strict=True) if counts]
    return Row(
        program=name,
        complete=complete_share(ours),
        told=float(np.mean(unwound.user_end[has_stack] == UserEnd.ROOT)),
        along_pointers=along_pointers,
        by_perf=by_perf,
        named=named,
        known=known,
        nameless=nameless,
        own=largest_difference(seen, theirs, inclusive=False),
        whole=largest_difference(seen if by_perf > PERF_IS_WHOLE else [], theirs, inclusive=True),
        samples=len(unwound),
    )


def sample(agent: Unwinding, pid: int) -> tuple[int, Captures, Captures]:
    """Since when (monotonic nanoseconds), and the same program's samples, unwound and along frame pointers."""
    plain = CoreBackend(BackendOptions(frequency_hz=499, sched=False, only_pids=(pid,)))
    agent.drain()
    since_ns = time.monotonic_ns()
    began = cpu_ns(pid)
    walked, unwound = [], []
    for _ in poll(lambda: cpu_ns(pid) - began >= SECONDS * 1e9):
        unwound.append(agent.drain())
        walked.append(plain.drain().captures)
    plain.close()
    return since_ns, rows_of(concat(unwound), pid), rows_of(concat(walked), pid)


def native_stacks(agent: Unwinding, rows: Captures) -> list[NamedStack]:
    """The stack of each row with the interpreter's loop in place of Python functions, as others see them."""
    return [
        tuple(LOOP if frame.kind is FrameKind.PYTHON else frame.function or frame.mapping for frame in frames)
        for frames in (agent.user_frames(rows, row) for row in range(len(rows)))
    ]


def perf_stacks(
    agent: Unwinding, pid: int, perf: PerfDwarf, since_ns: int, until_ns: int
) -> list[NamedStack]:
    """What perf saw in the same time, named by us: it is stacks that are compared, not symbol tables."""
    known: dict[int, str] = {}
    process = agent.processes.find(pid, 0)
    assert process
    stacks = perf.stacks(process.mappings, since_ns, until_ns)
    addrs = np.unique(np.array([addr for stack in stacks for addr in stack], np.uint64))
    for addr, frame in zip(addrs.tolist(), agent.frames(pid, addrs), strict=True):
        known[addr] = frame.function or frame.mapping
    return [tuple(known[addr] for addr in stack) for stack in stacks]


def complete_share(stacks: list[NamedStack]) -> float:
    """Share of the stacks whose outermost function is one that threads or processes begin with."""
    there = [stack for stack in stacks if stack]
    return sum(stack[-1] in STARTS for stack in there) / len(there) if there else float("nan")


def named_shares(agent: Unwinding, rows: Captures, stripped: set[str]) -> tuple[float, float, str]:
    """Shares of the frames that have a name, of all and of those outside of `stripped` files; and where most of
    the others lie."""
    frames = [frame for row in range(len(rows)) for frame in agent.user_frames(rows, row)]
    # V8 tells the names of what it compiles only with --perf-basic-prof.
    untold = {frame for frame in set(frames) if frame.kind is FrameKind.NODE and frame.mapping == "[jit]"}
    known = [frame for frame in frames if frame.mapping not in stripped and frame not in untold]
    nameless = Counter(frame.mapping for frame in frames if not frame.function)
    told = ", ".join(f"{mapping} {count}" for mapping, count in nameless.most_common(3))
    shares = [
        sum(bool(one.function) for one in some) / len(some) if some else 1.0 for some in (frames, known)
    ]
    return shares[0], shares[1], told


def stripped_files(agent: Unwinding, pid: int) -> set[str]:
    """Names of a process's files whose symbols are nowhere on this host."""
    process = agent.processes.find(pid, 0)
    assert process
    found = set()
    for path in {mapping.path for mapping in process.mappings if mapping.path.startswith("/")}:
        with suppress(OSError, ElfError), open(path, "rb") as file:
            elf = ElfFile(FileBytes(file.fileno()))
            if not any(section.type == SHT_SYMTAB for section in elf.sections) and not find_debug_file(
                elf, path, ("/",)
            ):
                found.add(os.path.basename(path))
    return found
