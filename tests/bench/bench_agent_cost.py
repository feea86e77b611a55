"""What the whole agent costs, at rest and with every CPU busy, beside `perf record -a -g` at the same rate.

Prints percent of the host (all CPUs), from the kernel's accounting of the processes and of the BPF programs.
The first windows are left out: they read the symbols of everything that runs, once. FLEETPROF_BENCH_SECONDS
sets the length.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.product import Command, Up, up, wait_until

SECONDS = float(os.environ.get("FLEETPROF_BENCH_SECONDS", "60"))
WARM_UP_WINDOWS = 3
CPUS = os.cpu_count() or 1
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


@contextmanager
def load(folder: Path, processes: int) -> Iterator[None]:
    """So many processes that keep a CPU busy with stacks of some depth."""
    binary = folder / "shares"
    source = Path(__file__).parent.parent / "workloads" / "shares.c"
    subprocess.run(["gcc", "-O1", "-fno-omit-frame-pointer", "-o", binary, source], check=True)
    running = [
        subprocess.Popen([binary, str(SECONDS * 4 + 100)], stdout=subprocess.DEVNULL)
        for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def windows(server: Up) -> int:
    found = server.get("summary", **{"from": "now-1h"})
    return int(found["completeness"]["windows_received"]) if found else 0


def perf_percent(folder: Path) -> float:
    """Percent of the host that `perf record -a -g` takes in user space (its kernel side is not accounted)."""
    command = [
        "perf",
        "record",
        "-q",
        "-F",
        "99",
        "-a",
        "-g",
        "-e",
        "cpu-clock",
        "-o",
        str(folder / "perf.data"),
    ]
    perf = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until(lambda: (folder / "perf.data").exists(), "perf has started")
    began_s, before = time.monotonic(), cpu_s(perf.pid)
    time.sleep(SECONDS / 2)
    used = (cpu_s(perf.pid) - before) / (time.monotonic() - began_s) / CPUS * 100
    perf.terminate()
    perf.wait()
    return used


def agent_percent(folder: Path) -> tuple[float, float, str]:
    """Percent of the host that the agent's process and its BPF programs take, and its memory in words."""
    with up(folder / "data", "--no-agent") as server:
        server.wait_to_say("UI ready")
        collector = ("--collector", f"127.0.0.1:{server.grpc}")
        agent = Command("fleetprof-agent", "run", *collector, "--state-dir", str(folder / "agent"))
        try:
            wait_until(lambda: windows(server) >= WARM_UP_WINDOWS, "the agent is warm", 120)
            began_s, before = time.monotonic(), cpu_s(agent.process.pid)
            time.sleep(SECONDS)
            process = (cpu_s(agent.process.pid) - before) / (time.monotonic() - began_s) / CPUS * 100
            status = Path(f"/proc/{agent.process.pid}/status").read_text()
        finally:
            agent.end()
        told = last_windows(server, int(SECONDS / 10))
    rss, peak = (int(status.split(name)[1].split()[0]) / 1024 for name in ("VmRSS:", "VmHWM:"))
    memory = f"RSS {rss:.0f} MB (peak {peak:.0f}), maps {told['map_bytes'] / 2**20:.1f} MB"
    return process, told["bpf_ns"] / told["covered_ns"] / CPUS * 100, memory


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("busy", [0, CPUS], ids=["at rest", "all CPUs busy"])
def test_cost_of_the_agent(tmp_path: Path, busy: int) -> None:
    with load(tmp_path, busy):
        process, bpf, memory = agent_percent(tmp_path)
        total = process + bpf
        print(f"\nagent: {total:.3f} % of the host (process {process:.3f}, BPF {bpf:.3f}); {memory}")
        if shutil.which("perf"):
            peer = perf_percent(tmp_path)
            print(
                f"perf record -a -g: {peer:.3f} % in user space; agent / perf {total / max(peer, 1e-3):.1f}"
            )


def last_windows(server: Up, count: int) -> dict[str, float]:
    """Sums over the last windows of what the agent told of its own cost; read after the server has ended."""
    from collector.store.chdb import ChdbStore

    server.end()
    store = ChdbStore(server.data)
    try:
        sql = (
            "SELECT sum(agent_bpf_ns) AS bpf_ns, sum(covered_ns) AS covered_ns, "
            "max(agent_map_bytes) AS map_bytes "
            "FROM (SELECT * FROM windows ORDER BY ts DESC LIMIT %(count)s) AS w"
        )
        found = store.query((sql, {"count": count}))
    finally:
        store.close()
    return {name: float(values[0]) for name, values in found.items()}
