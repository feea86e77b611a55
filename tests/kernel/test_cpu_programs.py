"""The BPF programs as built: what the verifier makes of them, and layouts that two languages share."""

import os
import subprocess
from pathlib import Path

import pytest

from agent.backends.bcc import find_bcc, load
from agent.backends.cpu_sampler import MAX_DEPTH, MAX_USER_DEPTH, CpuSettings
from agent.backends.interface import BackendOptions
from agent.kernel_btf import Btf
from agent.libbpf import OBJECTS, BpfObject, verified_instructions
from agent.ring import CAPTURE

pytestmark = pytest.mark.kernel

VERIFIER_LIMIT = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS of kernel/bpf/verifier.c."""
BPF = Path(__file__).parents[2] / "bpf"

VARIANTS = [
    ("cpu.bpf.o", {}),
    ("cpu.bpf.o", {"filter_pids": 1, "stack_bytes": 8}),
    ("cpu_unwind.bpf.o", {"python_frames": 1}),
    *(("sched.bpf.o", {"stacks": stacks}) for stacks in (0, 1, 2)),
    *(("sched_unwind.bpf.o", {"stacks": stacks, "python_frames": 1}) for stacks in (1, 2)),
]


@pytest.mark.parametrize(("name", "constants"), VARIANTS)
def test_the_verifier_has_room_to_spare(name: str, constants: dict[str, int | bytes]) -> None:
    path = OBJECTS / name
    for program in BpfObject(path, programs=set()).programs:
        with BpfObject(path, programs={program}, constants=constants) as loaded:
            walked = verified_instructions(loaded.program_fd(program))
        print(f"{name} {constants} {program}: {walked} instructions verified")
        assert 0 < walked <= 0.7 * VERIFIER_LIMIT


def test_bcc_compiles_a_program_that_is_as_easy_to_verify() -> None:
    descriptors = load(find_bcc(), CpuSettings.of(BackendOptions()))
    walked = verified_instructions(descriptors[0])
    for fd in descriptors:
        os.close(fd)
    print(f"bcc sample_cpu: {walked} instructions verified")
    assert 0 < walked <= 0.7 * VERIFIER_LIMIT


def test_the_record_has_one_layout_in_c_and_numpy() -> None:
    with Btf(OBJECTS / "cpu.bpf.o") as types:
        layout = types.struct_layout("fp_capture")
    assert layout
    size, offsets = layout
    assert CAPTURE.fields
    assert {name: offset for name, (_, offset) in CAPTURE.fields.items()} == {
        name: offset for name, offset in offsets.items() if name != "addrs"
    }
    assert offsets["addrs"] == CAPTURE.itemsize
    assert size == CAPTURE.itemsize + (MAX_USER_DEPTH + MAX_DEPTH) * 8


def test_the_shipped_objects_hold_types_but_no_debug_information() -> None:
    for path in OBJECTS.glob("*.bpf.o"):
        sections = subprocess.run(["readelf", "-SW", str(path)], check=True, capture_output=True, text=True)
        assert ".BTF" in sections.stdout
        assert ".debug_" not in sections.stdout
        assert path.stat().st_size < 300_000


def test_nothing_is_built_twice() -> None:
    done = subprocess.run(["make", "-C", str(BPF)], check=True, capture_output=True, text=True)
    assert "bpf: " not in done.stdout


def test_a_missing_compiler_is_one_clear_line(tmp_path: Path) -> None:
    command = ["make", "-C", str(BPF), f"OUT={tmp_path}", "CLANG=clang-that-is-not-there"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert "clang-that-is-not-there" in lines[0]
    assert "apt install clang llvm" in lines[0]
