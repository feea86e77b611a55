"""Programs whose stacks are to be complete: how to start each, and what keeps it busy.

A starter is a generator that yields the process id once the process is busy, and ends it afterwards.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernel.cpu_load import cpu_ns, poll
from tests.kernel.test_unwind_stacks import NO_FRAME_POINTERS
from tests.workloads.build import SOURCES, build, running, tool

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@dataclass
class Program:
    """How to start a program: yields its process id once it is busy."""

    name: str
    start: Callable[[Path], Iterator[int]]
    least: float = 0.99
    """Share of stacks that must reach their root."""


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


def unwound(folder: Path, *flags: str) -> str:
    out = folder / "unwound"
    command = [tool("g++"), *NO_FRAME_POINTERS, *flags, "-w", "-o", out, SOURCES / "unwound.cc", "-lpthread"]
    subprocess.run(command, check=True)
    return str(out)


def cpp(folder: Path) -> Iterator[int]:
    """Deep recursion, exceptions and signal handlers in 64 threads."""
    yield from workload([unwound(folder), "crowd"])


def static_cpp(folder: Path) -> Iterator[int]:
    yield from workload([unwound(folder, "-static"), "threads"])


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


def plain_java(folder: Path) -> Iterator[int]:
    """As one starts it: compiled code uses the frame pointer for other things."""
    subprocess.run([tool("javac"), "-d", str(folder), str(SOURCES / "LoadJava.java")], check=True)
    yield from workload([tool("java"), "-cp", str(folder), "LoadJava"])


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


def with_debug_package(folder: Path) -> Iterator[int]:
    """A stripped program of Debian whose symbols are a package of their own, as those of all its libraries."""
    if not Path("/usr/share/doc/binutils-x86-64-linux-gnu-dbg").exists():
        pytest.skip("binutils-x86-64-linux-gnu-dbg, libbinutils-dbg and libc6-dbg are not installed here")
    found = subprocess.run(
        [tool("g++"), "-print-prog-name=cc1plus"], capture_output=True, text=True, check=True
    )
    yield from busy_process([tool("objdump"), "-d", found.stdout.strip()])


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
    """The one backend that pgbench keeps busy."""
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
    settings = ["-p", "16398", "-c", "listen_addresses=", "-c", "fsync=off"]
    server = subprocess.Popen(
        [*as_user, programs / "postgres", "-D", data, "-k", data, *settings], cwd="/", **QUIET
    )
    where = ["-h", str(data), "-p", "16398"]
    bench = [str(programs / "pgbench"), *where, "-U", "postgres"]
    try:
        for _ in poll(lambda: not subprocess.run([programs / "pg_isready", *where], **QUIET).returncode):
            pass
        subprocess.run([*bench, "-i", "postgres"], check=True, **QUIET)
        with killed(subprocess.Popen([*bench, "-T", "300", "postgres"], **QUIET)):
            for _ in poll(lambda: any(cpu_ns(pid) > 2e8 for pid in connections(data))):
                pass
            yield connections(data)[0]
    finally:
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        server.wait()


def connections(data: Path) -> list[int]:
    """The server's processes that serve a client."""
    master = (data / "postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [int(pid) for pid in children if b"[local]" in Path(f"/proc/{pid}/cmdline").read_bytes()]


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
    Program("postgres, pgbench", postgres),
    Program("nginx, wrk", nginx),
    Program("g++ compiling", gcc),
    Program("objdump, debug package", with_debug_package),
    Program("node", node),
    Program("java", plain_java),
    Program("java, frame pointers", java),
    Program("go", go),
    Program("rust, release", rust),
    Program("c++ -O2, 64 threads", cpp),
    Program("c++ -O2, static", static_cpp),
]
SOME = [program for program in PROGRAMS if program.start in (python, redis, node, rust, static_cpp)]
"""Of each way that code is built one."""
