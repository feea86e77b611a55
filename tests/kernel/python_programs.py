"""All interpreters that are here run the workload at once, under one sampler: its start costs more than they do."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.samples import Captures, concat
from fleetprof.frames import Frame, FrameKind
from tests.kernel.cpu_load import cpu_ns, poll, rows_of
from tests.kernel.unwinding import Unwinding, unwinding
from tests.workloads.build import running
from tests.workloads.pythons import PROGRAM, interpreters


@dataclass
class Seen:
    """The samples of one process, and their stacks as they are sent to the collector, leaf first."""

    rows: Captures
    stacks: list[list[Frame]]


@contextmanager
def python_programs(folder: Path, mode: str, seconds: float) -> Iterator[tuple[Unwinding, dict[str, Seen]]]:
    """What was seen of each interpreter while it used so much CPU time, by name; only those that are here.

    They have ended when the block begins: five that spin would slow down whatever runs beside.
    """
    with unwinding(folder / "tables") as agent:
        yield agent, _seen(agent, mode, seconds)


def _seen(agent: Unwinding, mode: str, seconds: float) -> dict[str, Seen]:
    with ExitStack() as programs:
        pids = {
            name: programs.enter_context(running([str(path), PROGRAM, mode])).pid
            for name, path in interpreters().items()
            if path
        }
        for pid in pids.values():
            agent.follow(pid)
        agent.drain()
        began = {pid: cpu_ns(pid) for pid in pids.values()}
        parts = [
            agent.drain()
            for _ in poll(lambda: all(cpu_ns(pid) - ns >= seconds * 1e9 for pid, ns in began.items()))
        ]
        captures = concat([*parts, agent.drain()])
        rows = {name: rows_of(captures, pid) for name, pid in pids.items()}
        return {name: Seen(each, agent.stacks(each)) for name, each in rows.items()}


def is_python(frame: Frame) -> bool:
    return frame.kind is FrameKind.PYTHON


def short(frame: Frame) -> str:
    """The function's name, without its class: only 3.11 and newer tell it."""
    return frame.function.rpartition(".")[2] or frame.name


def python_names(stack: list[Frame]) -> list[str]:
    """The Python functions of a stack, leaf first."""
    return [short(frame) for frame in stack if is_python(frame)]
