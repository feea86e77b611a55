"""Python functions stand in stacks where the interpreter ran them, on every version of CPython that is here."""

import shutil
import subprocess
from pathlib import Path

import pytest

from agent.cpython.kernel_python import NAME, PROCESS
from agent.kernel_btf import Btf
from agent.libbpf import OBJECTS
from agent.samples import UserEnd
from fleetprof.frames import Frame
from fleetprof.losses import DropReason
from tests.kernel.cpu_load import poll, rows_of
from tests.kernel.python_programs import Seen, is_python, python_names, python_programs, short
from tests.kernel.unwinding import complete_share, unwinding
from tests.workloads.build import SOURCES, running, tool
from tests.workloads.pythons import PROGRAM, interpreter, interpreters

pytestmark = pytest.mark.kernel

ALL = list(interpreters())
SECONDS = 0.6
OUTERMOST = ["again_and_again", "main", "<module>"]
LINES = Path(PROGRAM).read_text().splitlines()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """The workload with all it can do."""
    with python_programs(tmp_path_factory.mktemp("programs"), "everything", SECONDS) as (agent, seen):
        assert not agent.losses[DropReason.PYTHON_UNREADABLE]
    return seen


@pytest.fixture(params=ALL)
def seen(request: pytest.FixtureRequest, programs: dict[str, Seen]) -> Seen:
    """What was seen of one interpreter; skips where it is not installed."""
    interpreter(request.param)
    return programs[request.param]


@pytest.fixture
def stacks(seen: Seen) -> list[list[Frame]]:
    return seen.stacks


def on(stacks: list[list[Frame]], function: str) -> list[list[Frame]]:
    """The stacks that a Python function is on; there must be some."""
    found = [stack for stack in stacks if function in python_names(stack)]
    assert found
    return found


def between(stack: list[Frame], callee: str, caller: str) -> list[Frame]:
    """What stands between two Python functions."""
    names = [short(frame) if is_python(frame) else "" for frame in stack]
    at = names.index(callee)
    return stack[at + 1 : names.index(caller, at)]


def test_stacks_are_whole(seen: Seen) -> None:
    assert complete_share(seen.rows) >= 0.99
    inside = on(seen.stacks, "burn")
    assert len(inside) >= 0.95 * len(seen.stacks)
    for stack in inside:
        outermost = "<module>" if stack[-1].function == "_start" else "_bootstrap"
        assert python_names(stack)[-1] == outermost
        assert any(name in python_names(stack)[:-1] for name in ("shares", "everything"))


def test_functions_have_name_file_and_line(stacks: list[list[Frame]]) -> None:
    frame = next(frame for frame in on(stacks, "burn")[0] if short(frame) == "burn")
    assert (frame.function, frame.mapping, frame.file) == ("burn", "python_shares.py", PROGRAM)
    assert LINES[frame.line - 1].startswith("def burn(")


def test_methods_have_their_class_where_the_version_tells_it(programs: dict[str, Seen]) -> None:
    for name, seen in programs.items():
        methods = {frame.function for stack in seen.stacks for frame in stack if short(frame) == "third"}
        assert methods == ({"third"} if name in ("3.9", "3.10") else {"Box.third"}), name


def test_the_interpreters_loop_is_replaced(stacks: list[list[Frame]]) -> None:
    loops = [stack for stack in stacks if any("EvalFrame" in frame.function for frame in stack[1:])]
    assert len(loops) <= 0.01 * len(stacks), loops[0]


def test_c_code_that_calls_back_stays_between(stacks: list[list[Frame]]) -> None:
    for stack in on(stacks, "third"):
        sort = between(stack, "third", "shares")
        assert sort
        assert not any(is_python(frame) for frame in sort)
        named = [frame.function for frame in sort if frame.function]
        assert not named or any("sort" in name or "Call" in name for name in named)


def test_frames_of_c_libraries_stay_between(stacks: list[list[Frame]]) -> None:
    for stack in on(stacks, "compare"):
        found = {frame.mapping.partition(".")[0] for frame in between(stack, "compare", "callbacks")}
        assert {"libc", "libffi"} <= found


def test_generators_and_coroutines_stand_on_who_runs_them(stacks: list[list[Frame]]) -> None:
    for stack in on(stacks, "fifth"):
        names = python_names(stack)
        assert names[names.index("fifth") + 1] == "shares"
    for stack in on(stacks, "inner"):
        names = python_names(stack)
        assert names[names.index("inner") : names.index("inner") + 3] == ["inner", "outer", "coroutines"]


def test_recursion_has_all_its_frames(stacks: list[list[Frame]]) -> None:
    whole = [stack for stack in on(stacks, "deep") if "burn" in python_names(stack)]
    assert {python_names(stack).count("deep") for stack in whole} == {121}


def test_each_thread_has_its_own_functions(seen: Seen) -> None:
    outermost = {
        tid: python_names(stack)[-1]
        for tid, stack in zip(seen.rows.tid.tolist(), seen.stacks, strict=True)
        if "burn" in python_names(stack)
    }
    assert sorted(outermost.values()) == ["<module>", "_bootstrap", "_bootstrap"]


def test_a_pid_namespace_makes_no_difference(tables: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    command = [interpreter("3.11 static"), PROGRAM, "shares"]
    prefix = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with unwinding(tables) as agent, running(command, prefix=prefix) as load:
        children = Path(f"/proc/{load.pid}/task/{load.pid}/children").read_text().split()
        pid = int(children[0])
        agent.follow(pid)
        stacks = agent.stacks(agent.sample(pid, 0.2))
        assert sum("burn" in python_names(stack) for stack in stacks) >= 0.95 * len(stacks)


@pytest.mark.parametrize("name", ["3.12", "3.13"])
def test_trampolines_of_x_perf_are_walked_through_and_left_out(tables: Path, name: str) -> None:
    command = [interpreter(name), "-X", "perf", PROGRAM, "shares"]
    with unwinding(tables) as agent, running(command) as load:
        agent.follow(load.pid)
        rows = agent.sample(load.pid, 0.3)
        stacks = agent.stacks(rows)
        Path(f"/tmp/perf-{load.pid}.map").unlink(missing_ok=True)
    assert complete_share(rows) >= 0.98
    for stack in on(stacks, "half"):
        assert python_names(stack)[-5:] == ["half", "shares", *OUTERMOST]
        assert all(is_python(frame) for frame in between(stack, "half", "<module>"))


@pytest.mark.parametrize("name", ["3.9", "3.12"])
def test_where_a_native_walk_breaks_off_python_goes_on(
    tmp_path: Path, tables: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "no_tables.so"
    flags = [
        "-O1",
        "-fomit-frame-pointer",
        "-fno-asynchronous-unwind-tables",
        "-nostdlib",
        "-shared",
        "-fPIC",
    ]
    subprocess.run([tool("gcc"), *flags, "-o", library, SOURCES / "no_tables.c"], check=True)
    monkeypatch.setenv("LIBRARY", str(library))
    with unwinding(tables) as agent, running([interpreter(name), PROGRAM, "blind"]) as load:
        agent.follow(load.pid)
        ends: list[int] = []  # libraries come after the program's start, and their tables after them
        for _ in poll(lambda: UserEnd.NO_TABLE in ends):
            ends.extend(rows_of(agent.drain(), load.pid).user_end.tolist())
        stacks = on(agent.stacks(agent.sample(load.pid, 0.3)), "leaf")
        cut = [stack for stack in stacks if stack[-1].name == "[truncated]"]
        assert len(cut) >= 0.9 * len(stacks)
        for stack in cut:
            assert python_names(stack)[-len(OUTERMOST) - 2 :] == ["leaf", "blind", *OUTERMOST]


def test_c_and_python_agree_on_layouts() -> None:
    with Btf(OBJECTS / "cpu_unwind.bpf.o") as types:
        process = types.struct_layout("fp_python")
        name = types.struct_layout("fp_python_name")
    assert process
    assert process[0] == PROCESS.size
    assert name
    assert name[1]["texts"] == NAME.size
