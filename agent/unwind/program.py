"""Loads the programs that unwind, and says in plain words why a kernel cannot run them."""

import errno
from pathlib import Path

from agent.kernel_btf import Btf
from agent.libbpf import OBJECTS, BpfError, BpfObject, has_helper
from agent.unwind.kernel_tables import MAP_ENTRIES
from fleetprof.errors import UnavailableError

SAMPLES = OBJECTS / "cpu_unwind.bpf.o"
WAITS = OBJECTS / "sched_unwind.bpf.o"
_PERF_EVENT_PROGRAM, _BPF_LOOP = 7, 181  # enum bpf_prog_type, enum bpf_func_id


def load_samples(
    constants: dict[str, int | bytes] | None = None,
    map_entries: dict[str, int] | None = None,
    program: Path = SAMPLES,
) -> BpfObject:
    """The program that samples CPUs and unwinds; raises UnavailableError."""
    Btf().close()
    try:
        return BpfObject(program, None, constants, (map_entries or {}) | MAP_ENTRIES)
    except BpfError as error:
        if error.number != errno.EINVAL or has_helper(_PERF_EVENT_PROGRAM, _BPF_LOOP):
            raise
        raise UnavailableError(f"BPF has no loops in this kernel (bpf_loop, Linux 5.17): {error}") from error
