"""Stacks of code without frame pointers reach the root of their thread."""

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.samples import UserEnd
from fleetprof.losses import DropReason
from tests.kernel.cpu_load import cpu_ns, poll, rows_of
from tests.kernel.unwinding import complete_share, ends, unwinding
from tests.workloads.build import SOURCES, running, tool

pytestmark = pytest.mark.kernel

NO_FRAME_POINTERS = ("-O2", "-fomit-frame-pointer")
SECONDS = 0.3
FLAVOURS = {
    "shared": (),
    "lazily bound": ("-Wl,-z,lazy", "-no-pie"),
    "static": ("-static",),
    "static, position-independent": ("-static-pie",),
}


Build = Callable[..., str]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compiles the program with these further flags, each choice of them once."""
    folder = tmp_path_factory.mktemp("unwound")

    @functools.cache
    def compiled(*flags: str) -> str:
        out = folder / ("unwound" + "".join(flags))
        chosen = [*NO_FRAME_POINTERS, *flags, "-w", "-o", out]
        subprocess.run([tool("g++"), *chosen, SOURCES / "unwound.cc", "-lpthread"], check=True)
        return str(out)

    return compiled


@pytest.mark.parametrize("flags", FLAVOURS.values(), ids=FLAVOURS.keys())
def test_stacks_of_all_threads_reach_their_root(tables: Path, build: Build, flags: tuple[str, ...]) -> None:
    with unwinding(tables) as agent, running([build(*flags), "threads"]) as load:
        agent.follow(load.pid)
        rows = agent.sample(load.pid, SECONDS)
        stacks = [agent.names(rows, row) for row in range(len(rows))]
        assert complete_share(rows) >= 0.99, ends(rows)
        assert len(rows) >= 50
        whole = np.flatnonzero(rows.user_end == UserEnd.ROOT).tolist()
        outermost = {stacks[row][-1] for row in whole}
        assert outermost <= {"_start", "clone3", "__clone3", "clone", "__clone"}
        deep = [stack for stack in stacks if stack.count("recurse") >= 60]
        assert deep
        assert all("round_of_work()" in stack[-8:] for stack in deep)


def test_a_signal_handler_stands_on_what_it_interrupted(tables: Path, build: Build) -> None:
    with unwinding(tables) as agent, running([build(), "threads"]) as load:
        agent.follow(load.pid)
        rows = agent.sample(load.pid, 2 * SECONDS)
        stacks = [agent.names(rows, row) for row in range(len(rows))]
        handled = [stack for stack in stacks if "on_signal" in stack]
        assert handled
        for stack in handled:
            below = stack[stack.index("on_signal") + 1 :]
            assert below[0] in ("__restore_rt", "libc.so.6")  # a local symbol
            assert below[1] not in ("__restore_rt", "on_signal")
        rooted = sum(stack[-1] in ("_start", "clone3", "__clone3", "clone", "__clone") for stack in handled)
        assert rooted >= 0.98 * len(handled)


@pytest.mark.parametrize("mode", ["realign", "kernel"])
def test_aligned_stacks_and_system_calls(tables: Path, build: Build, mode: str) -> None:
    with unwinding(tables) as agent, running([build(), mode]) as load:
        agent.follow(load.pid)
        rows = agent.sample(load.pid, SECONDS)
        assert complete_share(rows) >= 0.99, ends(rows)
        assert agent.names(rows, 0)[-1] == "_start"
        in_kernel = np.diff(rows.kernel.starts) > 0
        assert in_kernel.mean() > 0.9 or mode == "realign"


def test_a_library_that_is_loaded_later_is_found(tmp_path: Path, tables: Path, build: Build) -> None:
    library = tmp_path / "late.so"
    source = SOURCES / "unwound_library.c"
    flags = [*NO_FRAME_POINTERS, "-shared", "-fPIC"]
    subprocess.run([tool("gcc"), *flags, "-o", library, source], check=True)
    with (
        unwinding(tables) as agent,
        running([build(), "dlopen", str(library)]) as load,
    ):
        agent.follow(load.pid)
        agent.sample(load.pid, SECONDS)
        for _ in poll(lambda: agent.is_loaded(load.pid)):
            agent.drain()
        rows = agent.sample(load.pid, SECONDS)
        assert complete_share(rows) >= 0.99, ends(rows)
        stack = agent.names(rows, 0)
        assert stack[-1] == "_start"
        assert "library_spin" in stack


def test_a_forked_process_is_taken_in_when_it_is_sampled(tables: Path, build: Build) -> None:
    with unwinding(tables) as agent, running([build(), "fork"]) as load:
        agent.follow(load.pid)
        child = load.addrs["child"]
        for _ in poll(lambda: child in agent.backend.unwind_tables.processes):  # type: ignore[union-attr]
            agent.drain()
        rows = agent.sample(child, SECONDS)
        assert complete_share(rows) >= 0.99, ends(rows)


def test_a_new_process_falls_back_to_frame_pointers_and_is_counted(tables: Path, build: Build) -> None:
    with running([build(), "threads"]) as load, unwinding(tables) as agent:
        used_ns = cpu_ns(load.pid)
        for _ in poll(lambda: cpu_ns(load.pid) - used_ns > 1e8):
            pass
        drained = agent.backend.drain()
        rows = rows_of(drained.captures, load.pid)
        assert set(ends(rows)) == {UserEnd.NEW}
        assert drained.losses[DropReason.UNWIND_NEW] >= len(rows)


def test_without_memory_for_a_table_stacks_are_cut_and_counted(tables: Path, build: Build) -> None:
    with (
        running([build(), "threads"]) as load,
        unwinding(tables, limit_bytes=8192) as agent,
    ):
        agent.follow(load.pid)
        rows = agent.sample(load.pid, SECONDS)
        assert ends(rows)[UserEnd.BUDGET] >= 0.5 * len(rows), ends(rows)  # a small table may fit
        assert agent.losses[DropReason.UNWIND_MEMORY] >= ends(rows)[UserEnd.BUDGET]
        assert agent.unwinder.state().over_budget
        assert agent.unwinder.state().table_bytes <= 8192


def test_tables_that_nobody_used_give_way_to_new_ones(tables: Path, build: Build) -> None:
    with unwinding(tables) as agent, running([build(), "sleep"]) as idle:
        agent.follow(idle.pid)
        before = agent.unwinder.state()
        assert before.tables >= 3
        agent.unwinder.limit_bytes = before.table_bytes
        with running([build("-static"), "realign"]) as other:
            agent.follow(other.pid)
            after = agent.unwinder.state()
            assert after.over_budget, "something had to go"
            assert after.table_bytes <= before.table_bytes
            rows = agent.sample(other.pid, SECONDS)
            assert complete_share(rows) >= 0.99, ends(rows)


def test_a_stack_deeper_than_the_limit_is_marked(tables: Path, build: Build) -> None:
    with (
        running([build(), "threads"]) as load,
        unwinding(tables, max_depth=10) as agent,
    ):
        agent.follow(load.pid)
        rows = agent.sample(load.pid, SECONDS)
        depths = np.diff(rows.user.starts)
        assert depths.max() == 10
        cut = rows.user_end == UserEnd.DEPTH
        assert cut.any()
        assert (depths[cut] == 10).all()
        assert rows.truncated[cut].all()


def test_a_c_library_without_tables_ends_threads_by_the_frame_pointer(tmp_path: Path, tables: Path) -> None:
    source, out = SOURCES / "busy.c", tmp_path / "musl"
    flags = [*NO_FRAME_POINTERS, "-fasynchronous-unwind-tables", "-static"]
    subprocess.run([tool("musl-gcc"), *flags, "-o", out, source], check=True)
    with unwinding(tables) as agent, running([str(out), "user", "5"]) as load:
        agent.follow(load.pid)
        rows = agent.sample(load.pid, SECONDS)
        stacks = [agent.names(rows, row) for row in range(len(rows))]
        whole = [stack for stack in stacks if stack[-2:] == ["main", "libc_start_main_stage2"]]
        assert len(whole) >= 0.9 * len(stacks)
