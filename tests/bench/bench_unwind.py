"""What unwinding by tables costs a sample, beside the kernel's walk along frame pointers of the same stacks.

Prints nanoseconds of BPF for each sample of one program, with both ways attached at the same time, and the size and
the CPU time of tables of large files.
"""

import io
import time
from pathlib import Path

import numpy as np
import pytest

from agent.backends.core import CoreBackend
from agent.backends.interface import BackendOptions
from agent.libbpf import enable_run_time_stats, program_run_time
from agent.symbolize.elf import ElfFile, FileBytes
from agent.unwind.build import FrameSection, row_source, write_table
from tests.kernel.test_unwind_stacks import build
from tests.kernel.unwinding import complete_share, unwinding
from tests.workloads.build import running

SECONDS = 5.0


def run_time(backend: CoreBackend) -> tuple[int, int]:
    return program_run_time(backend._object.program_fd("sample_cpu"))


@pytest.mark.parametrize("mode", ["threads", "realign"])
def test_nanoseconds_a_sample(tmp_path: Path, mode: str) -> None:
    with (
        running([build(tmp_path), mode]) as load,
        unwinding(tmp_path / "tables", only_pids=(load.pid,)) as agent,
    ):
        agent.follow(load.pid)
        options = BackendOptions(frequency_hz=499, sched=False, only_pids=(load.pid,))
        plain = CoreBackend(options)
        none = CoreBackend(BackendOptions(frequency_hz=499, sched=False, only_pids=(1,)))
        agent.drain()
        stop = enable_run_time_stats()
        before = [run_time(one) for one in (agent.backend, plain, none)]
        rows, plain_rows = [], []
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(0.2)
            rows.append(agent.drain())
            plain_rows.append(plain.drain().captures)
        after = [run_time(one) for one in (agent.backend, plain, none)]
        stop()
        plain.close()
        none.close()
    spent = [a[0] - b[0] for a, b in zip(after, before, strict=True)]
    runs = [a[1] - b[1] for a, b in zip(after, before, strict=True)]
    idle_ns = spent[2] / max(runs[2], 1)
    report("unwound", spent[0], runs[0], idle_ns, rows)
    report("frame pointers", spent[1], runs[1], idle_ns, plain_rows)
    assert min(complete_share(one) for one in rows if len(one) > 20) > 0.9


def report(name: str, spent_ns: int, runs: int, idle_ns: float, parts: list) -> None:
    samples = sum(len(part) for part in parts)
    depth = np.mean(np.concatenate([np.diff(part.user.starts) for part in parts]))
    each = (spent_ns - (runs - samples) * idle_ns) / max(samples, 1)
    print(f"{name}: {each / 1000:.1f} us a sample, {samples} samples, {depth:.0f} user frames")


@pytest.mark.parametrize("path", ["/usr/bin/node", "/lib/x86_64-linux-gnu/libLLVM-14.so.1", "chdb"])
def test_building_a_table(path: str) -> None:
    if path == "chdb":
        chdb = pytest.importorskip("chdb")
        path = str(next(Path(chdb.__file__).parent.glob("_chdb*.so")))
    if not Path(path).exists():
        pytest.skip(f"{path} is not here")
    began = time.process_time()
    with open(path, "rb") as file:
        section = FrameSection(ElfFile(FileBytes(file.fileno())))
    size = write_table(section, row_source(section), io.BytesIO())
    used = time.process_time() - began
    megabytes = Path(path).stat().st_size / 1e6
    print(f"{Path(path).name} ({megabytes:.0f} MB): table of {size / 1e6:.1f} MB in {used:.2f} s of CPU")
