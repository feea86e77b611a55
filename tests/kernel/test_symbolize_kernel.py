"""Kernel functions and the vDSO of the machine that the tests run on."""

import ctypes
import os
import random
from pathlib import Path

import numpy as np
import pytest

from agent.symbolize.build_id import kernel_build_id, read_build_id
from agent.symbolize.kernel_symbols import KernelFrames
from fleetprof.frames import FrameKind
from tests.workloads.processes import Symbolized

pytestmark = pytest.mark.kernel


def test_every_exported_function_of_this_kernel() -> None:
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    addrs: dict[int, set[str]] = {}
    for fields in lines:
        if fields[1] in "tTwW":
            addrs.setdefault(int(fields[0], 16), set()).add(fields[2])
    chosen = random.Random(1).sample(sorted(addrs), 2000)
    kernel = KernelFrames()
    frames = kernel.frames(np.array(chosen, np.uint64))
    assert kernel.notice == ""
    assert all(frame.function in addrs[addr] for addr, frame in zip(chosen, frames, strict=True))
    assert {frame.kind for frame in frames} == {FrameKind.KERNEL}


def test_system_call_entry_has_its_usual_name() -> None:
    addr = next(
        int(line.split()[0], 16)
        for line in Path("/proc/kallsyms").read_text().splitlines()
        if line.split()[2] == "do_syscall_64"
    )
    frame = KernelFrames().frames(np.array([addr + 20], np.uint64))[0]
    assert (frame.function, frame.mapping) == ("do_syscall_64", "[kernel]")


def test_vdso_of_this_process() -> None:
    seen = Symbolized(os.getpid())
    library = ctypes.CDLL(None)
    library.dlvsym.restype = ctypes.c_void_p
    vdso = next(m for m in seen.process.mappings if m.path == "[vdso]")
    frames = seen.frames(range(vdso.start_addr, vdso.end_addr, 16))
    found = {frame.function for frame in frames}
    assert {"clock_gettime", "gettimeofday", "time"} <= found
    assert {frame.mapping for frame in frames} == {"[vdso]"}


def test_libc_functions_by_their_public_names() -> None:
    seen = Symbolized(os.getpid())
    library = ctypes.CDLL("libc.so.6")
    wanted = ("read", "write", "open", "nanosleep", "malloc", "free", "printf", "qsort", "pthread_create")
    addrs = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in wanted]
    assert [frame.function for frame in seen.frames(addrs)] == list(wanted)


def test_build_ids() -> None:
    assert len(kernel_build_id()) in (32, 40)
    with open("/proc/self/exe", "rb") as file:
        assert read_build_id(file.fileno()) == read_build_id(file.fileno())
    with open("/etc/passwd", "rb") as file:
        assert read_build_id(file.fileno()) == ""


def test_addresses_in_no_mapping() -> None:
    seen = Symbolized(os.getpid())
    frames = seen.frames([0, 1, 2**63, 2**64 - 1])
    assert {(frame.function, frame.mapping, frame.offset) for frame in frames} == {("", "[unmapped]", 0)}
