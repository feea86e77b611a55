"""How many stacks reach the root of their thread: unwound by tables, along frame pointers, and as perf unwinds them
from copies of the stack (`perf record --call-graph dwarf`), all three at the same time on the same program.

A stack is complete when its outermost frame is where threads and processes begin. The table is printed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agent.backends.core import CoreBackend
from agent.backends.interface import BackendOptions
from agent.resolve import OUTERMOST
from agent.samples import Captures, UserEnd, concat
from tests.kernel.cpu_load import cpu_ns, poll, rows_of
from tests.kernel.test_unwind_stacks import build as build_unwound
from tests.kernel.unwinding import Unwinding, unwinding
from tests.workloads.build import SOURCES, build, running, tool

pytestmark = pytest.mark.accuracy

SLOW = os.environ.get("FLEETPROF_SLOW") == "1"
SECONDS = 4.0 if SLOW else 1.0
"""CPU time of the program that is looked at."""
ENOUGH = 0.99
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
STARTS = OUTERMOST | {"_dl_start_user", "_dl_relocate_static_pie", "thread_start"}


@dataclass
class Program:
    """How to start a program: yields its process id once it is busy."""

    name: str
    start: Callable[[Path], Iterator[int]]
    least: float = ENOUGH


def busy_process(command: list[str]) -> Iterator[int]:
    """A program that is busy at once."""
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in poll(lambda: cpu_ns(started.pid) > 3e8):
            assert started.poll() is None, f"{command} ended"
        yield started.pid
    finally:
        started.kill()
        started.wait()


def workload(command: list[str]) -> Iterator[int]:
    with running(command) as load:
        yield load.pid


PYTHON = """
import json
data = {str(i): list(range(9)) for i in range(99)}
while True:
    json.loads(json.dumps(data, indent=1))
"""


def python(folder: Path) -> Iterator[int]:
    interpreter = "/usr/bin/python3"
    if not Path(interpreter).exists():
        pytest.skip(f"{interpreter} is not here")
    yield from busy_process([interpreter, "-c", PYTHON])


def cpp(folder: Path) -> Iterator[int]:
    yield from workload([build_unwound(folder), "threads"])


def static_cpp(folder: Path) -> Iterator[int]:
    yield from workload([build_unwound(folder, "-static"), "threads"])


def rust(folder: Path) -> Iterator[int]:
    out = folder / "release"
    flags = ["-C", "opt-level=3", "-C", "force-frame-pointers=no"]
    subprocess.run([tool("rustc"), *flags, "-o", out, SOURCES / "names_rust.rs"], check=True)
    yield from workload([str(out)])


def go(folder: Path) -> Iterator[int]:
    yield from workload(build("go", folder))


def node(folder: Path) -> Iterator[int]:
    yield from workload([tool("node"), str(SOURCES / "names_node.js")])


def java(folder: Path) -> Iterator[int]:
    yield from workload(build("java", folder))


def gcc(folder: Path) -> Iterator[int]:
    """One long compilation: tables of a process that is gone in a moment come too late for it."""
    source = folder / "long.cc"
    lines = "".join(f"std::map<int, std::vector<T<{i}>>> m{i};\n" for i in range(400))
    uses = "".join(f"m{i}[1].push_back(T<{i}>());\n" for i in range(400))
    source.write_text(
        f"#include <map>\n#include <vector>\ntemplate <int N> struct T {{ int a[N + 1]; }};\n{lines}"
        f"void all() {{\n{uses}}}\n"
    )
    out = subprocess.run(
        [tool("g++"), "-print-prog-name=cc1plus"], capture_output=True, text=True, check=True
    )
    compiler = out.stdout.strip()
    includes = subprocess.run(
        [tool("g++"), "-E", str(source), "-o", str(folder / "long.ii")], capture_output=True, check=True
    )
    assert not includes.returncode
    yield from busy_process(
        [compiler, "-fpreprocessed", "-quiet", "-O2", str(folder / "long.ii"), "-o", "/dev/null"]
    )


def redis(folder: Path) -> Iterator[int]:
    port = "16397"
    client = [tool("redis-benchmark"), "-p", port, "-q", "-l", "-n", "100000", "-t", "set,lpush,lrange_100"]
    server = subprocess.Popen(
        [tool("redis-server"), "--port", port, "--save", ""], cwd=folder, stdout=subprocess.DEVNULL
    )
    with killed(server):
        # Started before the server listens, this client spins for ever.
        for _ in poll(
            lambda: not subprocess.run([tool("redis-cli"), "-p", port, "ping"], **QUIET).returncode
        ):
            pass
        yield from under_load(server.pid, client)


def nginx(folder: Path) -> Iterator[int]:
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(binary).exists():
        pytest.skip("nginx is not installed here")
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;\n"
        "events {} http { access_log off; server { listen 127.0.0.1:18097; location / {"
        " root /usr/share/doc; autoindex on; gzip on; } } }"
    )
    server = subprocess.Popen([binary, "-c", str(configuration)], stderr=subprocess.DEVNULL)
    with killed(server):
        yield from under_load(server.pid, [tool("wrk"), "-t1", "-c4", "-d120s", "http://127.0.0.1:18097/"])


def postgres(folder: Path) -> Iterator[int]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found or shutil.which("runuser") is None:
        pytest.skip("postgres is not installed here")
    programs, data = found[-1].parent, folder / "data"
    data.mkdir()
    for parent in [data, *data.parents[:-2]]:
        with suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o055)
    shutil.chown(data, "postgres")
    as_user = ["runuser", "-u", "postgres", "--"]
    subprocess.run([*as_user, programs / "initdb", "-D", data, "-A", "trust"], check=True, cwd="/", **QUIET)
    server = subprocess.Popen(
        [*as_user, programs / "postgres", "-D", data, "-k", data, "-p", "16398", "-c", "listen_addresses="],
        cwd="/",
        **QUIET,
    )
    query = ["-h", str(data), "-p", "16398", "-U", "postgres"]
    sql = "select sum(length(md5(i::text))) from generate_series(1, 100000000) i"
    try:
        for _ in poll(lambda: (data / "postmaster.pid").exists() and bool(backends(data))):
            pass
        for _ in poll(lambda: not subprocess.run([programs / "pg_isready", *query[:4]], **QUIET).returncode):
            pass
        client = subprocess.Popen([programs / "psql", *query, "-c", sql], **QUIET)
        with killed(client):
            for _ in poll(lambda: bool(running_queries(data))):
                pass
            yield running_queries(data)[0]
    finally:
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int((data / "postmaster.pid").read_text().split()[0]), 3)
        server.wait()


def backends(data: Path) -> list[int]:
    master = (data / "postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{master}/task/{master}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


def running_queries(data: Path) -> list[int]:
    return [pid for pid in backends(data) if b"SELECT" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@contextmanager
def killed(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def under_load(pid: int, client: list[str]) -> Iterator[int]:
    """A server once its client keeps it busy."""
    deadline = time.monotonic() + 30
    while True:
        load = subprocess.Popen(client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with killed(load):
            for _ in poll(lambda: load.poll() is not None or cpu_ns(pid) > 5e8):  # noqa: B023
                pass
            if load.poll() is None:
                yield pid
                return
        assert time.monotonic() < deadline, "the client does not get through"


PROGRAMS = [
    Program("python3 (Debian)", python),
    Program("redis-server", redis),
    Program("postgres", postgres),
    Program("nginx", nginx),
    Program("g++ compiling", gcc),
    Program("node", node),
    Program("java, frame pointers", java),
    Program("go", go),
    Program("rust, release", rust),
    Program("c++ -O2, 4 threads", cpp),
    Program("c++ -O2, static", static_cpp),
]
SOME = [program for program in PROGRAMS if program.start in (python, redis, node, rust, static_cpp)]
"""Of each way that code is built one; all with FLEETPROF_SLOW=1."""
_TABLE: list[str] = []


@pytest.mark.parametrize("program", PROGRAMS if SLOW else SOME, ids=lambda program: program.name)
def test_stacks_reach_their_root(program: Program, tmp_path: Path) -> None:
    for pid in program.start(tmp_path):
        with unwinding(tmp_path / "tables", only_pids=(pid,)) as agent:
            agent.follow(pid)
            plain = CoreBackend(BackendOptions(frequency_hz=499, sched=False, only_pids=(pid,)))
            perf = start_perf(pid, tmp_path)
            unwound, walked = sample(agent, plain, pid)
            plain.close()
            stop_perf(perf)
            named = [share_named(agent, rows) for rows in (unwound, walked)]
            told = np.mean(unwound.user_end[np.diff(unwound.user.starts) > 0] == UserEnd.ROOT)
    by_perf = perf_share(tmp_path / "perf.data") if perf else float("nan")
    _TABLE.append(
        f"{program.name:<22}{named[0]:>9.1%} (told {told:.1%}){named[1]:>16.1%}{by_perf:>14.1%}{len(unwound):>9}"
    )
    print(f"\n{'':<22}{'unwound':>9}{'':>15}{'frame pointers':>16}{'perf dwarf':>12}{'samples':>9}")
    print("\n".join(_TABLE), file=sys.stdout)
    assert len(unwound) >= 30
    assert max(named[0], told) >= program.least


def sample(agent: Unwinding, plain: CoreBackend, pid: int) -> tuple[Captures, Captures]:
    """The same program's samples, unwound and along frame pointers."""
    agent.drain()
    plain.drain()
    began = cpu_ns(pid)
    walked, unwound = [], []
    for _ in poll(lambda: cpu_ns(pid) - began >= SECONDS * 1e9):
        unwound.append(agent.drain())
        walked.append(plain.drain().captures)
    return rows_of(concat(unwound), pid), rows_of(concat(walked), pid)


def share_named(agent: Unwinding, rows: Captures) -> float:
    """Share of the user stacks whose outermost function is one that threads or processes begin with."""
    stacks = [agent.names(rows, row) for row in np.flatnonzero(np.diff(rows.user.starts) > 0).tolist()]
    return sum(stack[-1] in STARTS for stack in stacks) / max(len(stacks), 1)


def start_perf(pid: int, folder: Path) -> "subprocess.Popen[bytes] | None":
    if not shutil.which("perf"):
        return None
    command = ["perf", "record", "-q", "-F", "49", "--call-graph", "dwarf,16384", "-e", "cpu-clock:u"]
    output = ["-p", str(pid), "-o", str(folder / "perf.data"), "--", "sleep", "60"]
    return subprocess.Popen([*command, *output], stderr=subprocess.DEVNULL)


def stop_perf(perf: "subprocess.Popen[bytes] | None") -> None:
    if perf:
        perf.send_signal(2)
        perf.wait()


def perf_share(path: Path) -> float:
    """As `share_named`, of what perf makes of its copies of stacks."""
    done = subprocess.run(
        ["perf", "script", "-i", str(path), "-F", "ip,sym", "--no-inline", "--max-stack", "512"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    stacks = [re.findall(r"^\s*[0-9a-f]+ (.*)$", part, re.MULTILINE) for part in done.stdout.split("\n\n")]
    whole = [stack for stack in stacks if stack]
    return sum(stack[-1].strip() in STARTS for stack in whole) / len(whole) if whole else float("nan")
