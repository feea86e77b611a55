"""Python functions stand in stacks where the interpreter ran them, on every version of CPython that is here."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.cpython.kernel_python import NAME, PROCESS
from agent.kernel_btf import Btf
from agent.libbpf import OBJECTS
from agent.samples import Captures
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from tests.kernel.unwinding import Unwinding, complete_share, unwinding
from tests.workloads.build import running
from tests.workloads.pythons import PROGRAM, interpreter, interpreters

pytestmark = pytest.mark.kernel

ALL = list(interpreters())
SECONDS = 0.3
LINES = Path(PROGRAM).read_text().splitlines()


def is_python(frame: Frame) -> bool:
    return frame.kind is FrameKind.PYTHON


def short(frame: Frame) -> str:
    """The function's name, without its class: only 3.11 and newer tell it."""
    return frame.function.rpartition(".")[2]


def python_names(stack: list[Frame]) -> list[str]:
    return [short(frame) for frame in stack if is_python(frame)]


@contextmanager
def sampled(
    folder: Path, name: str, mode: str, *prefix: str
) -> Iterator[tuple[Unwinding, Captures, list[list[Frame]]]]:
    """Samples of one mode of the workload, and their stacks."""
    command = [interpreter(name), PROGRAM, mode]
    with unwinding(folder / "tables", python="auto") as agent, running(command, prefix=prefix) as load:
        agent.follow(load.pid)
        rows = agent.sample(load.pid, SECONDS)
        yield agent, rows, agent.stacks(rows)


@pytest.mark.parametrize("name", ALL)
def test_functions_have_name_file_and_line(tmp_path: Path, name: str) -> None:
    with sampled(tmp_path, name, "shares") as (agent, rows, stacks):
        assert complete_share(rows) >= 0.99
        inside = [stack for stack in stacks if "burn" in python_names(stack)]
        assert len(inside) >= 0.97 * len(stacks)
        for stack in inside:
            assert stack[-1].function == "_start"
            assert python_names(stack)[-3:] == ["again_and_again", "main", "<module>"]
            frame = next(frame for frame in stack if short(frame) == "burn")
            assert (frame.function, frame.mapping, frame.file) == ("burn", "python_shares.py", PROGRAM)
            assert LINES[frame.line - 1].startswith("def burn(")
        method = {frame.function for stack in inside for frame in stack if short(frame) == "third"}
        assert method == ({"third"} if name in ("3.9", "3.10") else {"Box.third"})
        assert not agent.losses[DropReason.PYTHON_UNREADABLE]


@pytest.mark.parametrize("name", ALL)
def test_the_interpreters_loop_is_replaced_and_other_code_kept(tmp_path: Path, name: str) -> None:
    with sampled(tmp_path, name, "shares") as (_, _, stacks):
        loops = [stack for stack in stacks if any("EvalFrame" in frame.function for frame in stack[1:])]
        assert len(loops) <= 0.01 * len(stacks), loops[0]
        sorts = [stack for stack in stacks if "third" in python_names(stack)]
        assert sorts
        for stack in sorts:
            at = [short(frame) for frame in stack].index("third")
            caller = [short(frame) for frame in stack].index("shares")
            between = stack[at + 1 : caller]
            assert between, "the sort itself is C code"
            assert not any(is_python(frame) for frame in between)
            if "static" not in name:
                assert any("list_sort" in frame.function for frame in between)
        generators = [stack for stack in stacks if "fifth" in python_names(stack)]
        assert generators
        assert all(python_names(stack)[-5:-3] == ["fifth", "shares"] for stack in generators)


@pytest.mark.parametrize("name", ALL)
def test_frames_of_a_c_library_stay_between_python_functions(tmp_path: Path, name: str) -> None:
    with sampled(tmp_path, name, "callbacks") as (_, _, stacks):
        called = [stack for stack in stacks if "compare" in python_names(stack)]
        assert len(called) >= 0.9 * len(stacks)
        for stack in called:
            at = [short(frame) for frame in stack].index("compare")
            caller = [short(frame) for frame in stack].index("callbacks")
            assert any(frame.mapping.startswith("libc.so") for frame in stack[at:caller])
            assert any(frame.mapping.startswith("libffi") for frame in stack[at:caller])


@pytest.mark.parametrize("name", ALL)
def test_coroutines_and_recursion(tmp_path: Path, name: str) -> None:
    with sampled(tmp_path, name, "coroutines") as (_, _, stacks):
        inside = [python_names(stack) for stack in stacks if "inner" in python_names(stack)]
        assert len(inside) >= 0.9 * len(stacks)
        assert all(names[-6:-3] == ["inner", "outer", "coroutines"] for names in inside)
    with sampled(tmp_path, name, "recursion") as (_, rows, stacks):
        assert complete_share(rows) >= 0.98
        deepest = max(python_names(stack).count("deep") for stack in stacks)
        assert deepest == 121


@pytest.mark.parametrize("name", ALL)
def test_each_thread_has_its_own_functions(tmp_path: Path, name: str) -> None:
    with sampled(tmp_path, name, "threads") as (_, rows, stacks):
        mains = {
            tid: stack
            for tid, stack in zip(rows.tid.tolist(), stacks, strict=True)
            if "burn" in python_names(stack)
        }
        assert len(mains) == 4
        outermost = sorted(python_names(stack)[-1] for stack in mains.values())
        assert outermost == ["<module>", "_bootstrap", "_bootstrap", "_bootstrap"]


def test_a_pid_namespace_makes_no_difference(tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    command = [interpreter("3.11 static"), PROGRAM, "shares"]
    prefix = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with unwinding(tmp_path / "tables", python="auto") as agent, running(command, prefix=prefix) as load:
        children = Path(f"/proc/{load.pid}/task/{load.pid}/children").read_text().split()
        pid = int(children[0])
        agent.follow(pid)
        stacks = agent.stacks(agent.sample(pid, SECONDS))
        assert sum("burn" in python_names(stack) for stack in stacks) >= 0.97 * len(stacks)


def test_c_and_python_agree_on_layouts() -> None:
    with Btf(OBJECTS / "cpu_unwind.bpf.o") as types:
        process = types.struct_layout("fp_python")
        name = types.struct_layout("fp_python_name")
    assert process
    assert name
    assert process[0] == PROCESS.size
    assert NAME.fields
    assert name == (NAME.itemsize, {field: offset for field, (_, offset) in NAME.fields.items()})
