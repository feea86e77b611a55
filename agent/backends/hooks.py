"""Which hooks this host offers: each is tried by attaching an empty program for a moment, bpf/hooks.bpf.c."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

from agent.cpus import online_cpus
from agent.kernel_btf import KERNEL_BTF, Btf
from agent.libbpf import OBJECTS, BpfError, BpfObject, enable_run_time_stats, has_map_type
from agent.perf_events import COUNT_SW_CPU_CLOCK, PerfEventAttr, perf_event_open, software_event
from fleetprof.errors import UnavailableError
from fleetprof.hooks import BPF_RUN_TIME

OK = "ok"
_RING_BUFFER, _TASK_STORAGE = 27, 29  # enum bpf_map_type


def hooks_here(btf: Path = KERNEL_BTF) -> dict[str, str]:
    """Each hook or feature → "ok" or why it is missing. Never raises, whatever the host lacks.

    `btf` is the file with the kernel's types.
    """
    looks: dict[str, Callable[[], None]] = {
        "BTF": lambda: _types(btf),
        "perf clock": lambda: _perf_event(software_event(COUNT_SW_CPU_CLOCK, sample_freq=99, freq=1)),
        "perf hardware counters": lambda: _perf_event(_cycles()),
        "BPF programs": lambda: _load("try_perf_event"),
        "ring buffer": lambda: _map_type(_RING_BUFFER, "Linux 5.8"),
        "task storage": lambda: _map_type(_TASK_STORAGE, "Linux 5.11"),
        "sched_switch with types": lambda: _typed_tracepoint(btf, "sched_switch", "Linux 5.5"),
        "sched_exit_tp": lambda: _typed_tracepoint(btf, "sched_exit_tp", "Linux 6.14"),
        "task iterator": lambda: _attach("try_iter_task", BpfObject.attach_iterator),
        "raw tracepoints": lambda: _attach("try_raw_sched_switch", BpfObject.attach),
        "tracepoints": lambda: _attach("try_tracepoint", BpfObject.attach),
        "fentry": lambda: _attach("try_fentry", BpfObject.attach),
        "kprobes": lambda: _attach("try_kprobe", BpfObject.attach),
        "uprobes": lambda: _attach("try_uprobe", _attach_to_self),
        BPF_RUN_TIME: _run_time,
    }
    return {name: _outcome(look) for name, look in looks.items()}


def _outcome(look: Callable[[], None]) -> str:
    try:
        look()
    except BpfError as error:
        refused = "not offered here" if error.number == errno.ENOENT else "refused by the kernel"
        return f"{refused}: {os.strerror(error.number)} (errno {error.number})"
    except UnavailableError as error:
        return error.message
    except OSError as error:
        return str(error)
    return OK


def _types(path: Path) -> None:
    Btf(path).close()


def _cycles() -> PerfEventAttr:
    return PerfEventAttr(
        type=0, size=ctypes.sizeof(PerfEventAttr), config=0, sample_freq=99, freq=1, disabled=1
    )


def _perf_event(attributes: PerfEventAttr) -> None:
    os.close(perf_event_open(attributes, min(online_cpus())))


def _map_type(kind: int, since: str) -> None:
    _load("try_perf_event")  # without the privilege to load anything, the answer would be a wrong "too old"
    if not has_map_type(kind):
        raise UnavailableError(f"This kernel does not have it ({since}).")


def _typed_tracepoint(btf: Path, name: str, since: str) -> None:
    with Btf(btf) as types:
        if types.tracepoint_arguments(name) is None:
            raise UnavailableError(f"This kernel does not have it ({since}).")
    _attach(f"try_{name}", BpfObject.attach)


def _load(program: str) -> None:
    BpfObject(OBJECTS / "hooks.bpf.o", programs={program}).close()


def _attach(program: str, attach: Callable[[BpfObject, str], int]) -> None:
    with BpfObject(OBJECTS / "hooks.bpf.o", programs={program}) as loaded:
        attach(loaded, program)


def _run_time() -> None:
    try:
        enable_run_time_stats()()
    except BpfError as error:
        if error.number != errno.EPERM:
            raise
        raise UnavailableError("Not measured: the kernel counts it for CAP_SYS_ADMIN only.") from error


def _attach_to_self(loaded: BpfObject, program: str) -> int:
    """A function of the C library, in this process only."""
    addr = ctypes.cast(ctypes.CDLL(None).gnu_get_libc_version, ctypes.c_void_p).value or 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, _, _, *path = line.split(maxsplit=5)
        start, end = (int(text, 16) for text in span.split("-"))
        if start <= addr < end:
            return loaded.attach_uprobe(program, 0, path[0], addr - start + int(offset, 16))
    raise UnavailableError("No mapped function to try it on.")
