"""Code that runtimes make while running: Node and Java through their perf maps, and hostile maps."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetprof.frames import Frame, FrameKind
from tests.workloads.build import SOURCES, Running, build, running, tool
from tests.workloads.processes import Symbolized

pytestmark = pytest.mark.kernel


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Running]:
    with running(build("node", tmp_path)) as program:
        yield program
    Path(f"/tmp/perf-{program.pid}.map").unlink(missing_ok=True)


@pytest.fixture
def java(tmp_path: Path) -> Iterator[Running]:
    with running(build("java", tmp_path)) as program:
        yield program
    Path(f"/tmp/perf-{program.pid}.map").unlink(missing_ok=True)


def last_addr(map_path: Path, name: str) -> int:
    """Where the newest code called `name` starts, waiting for the runtime to write it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        lines = map_path.read_text().splitlines() if map_path.exists() else []
        found = [line for line in lines if line.count(" ") >= 2 and name in line.split(" ", 2)[2]]
        if found:
            return int(found[-1].split()[0], 16)
        time.sleep(0.02)
    pytest.fail(f"{map_path} never had {name}")


def test_node(node: Running) -> None:
    addr = last_addr(Path(f"/tmp/perf-{node.pid}.map"), "*spinInner ")
    seen = Symbolized(node.pid)
    frame = seen.frame(addr + 4)
    assert (frame.kind, frame.function, frame.mapping) == (FrameKind.NODE, "spinInner", "names_node.js")
    assert Path(frame.file).name == "names_node.js"
    source = Path(frame.file).read_text().splitlines()
    assert source[frame.line - 1].startswith("function spinInner")


def test_node_itself_is_symbolized_from_its_file(node: Running) -> None:
    seen = Symbolized(node.pid)
    code = [m for m in seen.process.mappings if m.path.endswith("/node")]
    text = max(code, key=lambda mapping: mapping.end_addr - mapping.start_addr)
    step = (text.end_addr - text.start_addr) // 200
    frames = seen.frames(range(text.start_addr, text.end_addr, step))
    assert sum("v8::" in frame.function for frame in frames) >= 50


def test_node_without_a_map(tmp_path: Path) -> None:
    """What V8 compiles has no name then, but is known as node's; its interpreter and builtins have theirs."""
    with running([tool("node"), str(SOURCES / "names_node.js")]) as program:
        seen = Symbolized(program.pid)
        mappings = [m for m in seen.process.mappings if not m.path]
        assert mappings
        made = seen.frames(addr for m in mappings for addr in range(m.start_addr, m.end_addr, 4096))
        assert set(made) == {Frame(FrameKind.NODE, "", "[jit]")}
        code = [m for m in seen.process.mappings if m.path.endswith("/node")]
        text = max(code, key=lambda mapping: mapping.end_addr - mapping.start_addr)
        frames = seen.frames(range(text.start_addr, text.end_addr, 512))
    names = {frame.function for frame in frames}
    assert len([name for name in names if name.startswith("Builtins_")]) > 300


def test_java(java: Running) -> None:
    subprocess.run([tool("jcmd"), str(java.pid), "Compiler.perfmap"], check=True, capture_output=True)
    map_path = Path(f"/tmp/perf-{java.pid}.map")
    addr = last_addr(map_path, "NamesJava.spinInner(long)")
    seen = Symbolized(java.pid)
    assert seen.frame(addr + 8) == Frame(FrameKind.JVM, "NamesJava.spinInner(long)", "[jit]")
    library = next(m for m in seen.process.mappings if m.path.endswith("libjvm.so"))
    frames = seen.frames(range(library.start_addr, library.end_addr, 65536))
    assert sum("::" in frame.function for frame in frames) >= 50


def test_java_map_written_again_is_read_again(java: Running) -> None:
    map_path = Path(f"/tmp/perf-{java.pid}.map")
    subprocess.run([tool("jcmd"), str(java.pid), "Compiler.perfmap"], check=True, capture_output=True)
    addr = last_addr(map_path, "NamesJava.spinInner(long)")
    seen = Symbolized(java.pid)
    assert seen.frame(addr).function == "NamesJava.spinInner(long)"
    text = map_path.read_text()
    map_path.write_text(text.replace("NamesJava.spinInner", "NamesJava.renamed__") + "1 1 more\n")
    assert seen.frame(addr).function == "NamesJava.renamed__(long)"


def test_code_without_a_map_folds_into_one_frame(java: Running) -> None:
    seen = Symbolized(java.pid)
    anonymous = [m for m in seen.process.mappings if not m.path or m.path.startswith("//anon")]
    assert anonymous
    frames = seen.frames(addr for m in anonymous for addr in range(m.start_addr, m.end_addr, 4096))
    assert set(frames) == {Frame(FrameKind.JVM, "", "[jit]")}


def test_own_pid_and_mount_namespace(tmp_path: Path) -> None:
    """The map is named by the process's own number, and lies in its own /tmp."""
    prefix = (tool("unshare"), "--mount", "--pid", "--fork", "--kill-child", "sh", "-c")
    # The program's source stays in reach where the checkout lies in /tmp.
    hide = "mount --bind {0} /mnt && mount -t tmpfs none /tmp && mkdir -p {0} && mount --bind /mnt {0}"
    script = f'{hide.format(SOURCES)} && "$0" "$@"; exit $?'
    with running(build("node", tmp_path), prefix=(*prefix, script)) as program:
        pid = _descendant(program.pid, "node")
        seen = Symbolized(pid)
        assert seen.process.namespace_pid != pid
        inside = Path(f"/proc/{pid}/root/tmp/perf-{seen.process.namespace_pid}.map")
        frame = seen.frame(last_addr(inside, "*spinInner "))
        assert (frame.kind, frame.function) == (FrameKind.NODE, "spinInner")


def _descendant(pid: int, comm: str) -> int:
    """The process below `pid` that runs `comm`."""
    while Path(f"/proc/{pid}/comm").read_text().strip() != comm:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert children, f"no {comm} below"
        pid = int(children[0])
    return pid


@pytest.fixture
def quiet() -> Iterator[Symbolized]:
    """A process of user 65534 that sleeps, and no map of it."""
    command = [tool("setpriv"), "--reuid", "65534", "--clear-groups", "sleep", "60"]
    started = subprocess.Popen(command)
    try:
        while Path(f"/proc/{started.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.005)
        yield Symbolized(started.pid)
    finally:
        started.kill()
        started.wait()
        Path(f"/tmp/perf-{started.pid}.map").unlink(missing_ok=True)


def write_map(seen: Symbolized, owner: int) -> None:
    path = Path(f"/tmp/perf-{seen.process.pid}.map")
    path.write_text("5000 100 planted\n")
    os.chown(path, owner, -1)


@pytest.mark.parametrize(("owner", "believed"), [(65534, True), (0, True), (12345, False)])
def test_only_the_owner_and_root_are_believed(quiet: Symbolized, owner: int, believed: bool) -> None:
    write_map(quiet, owner)
    assert quiet.frame(0x5010).function == ("planted" if believed else "")


def test_a_map_that_is_a_fifo_or_a_link_to_a_device_does_not_block(quiet: Symbolized) -> None:
    path = Path(f"/tmp/perf-{quiet.process.pid}.map")
    os.mkfifo(path)
    assert quiet.frame(0x5010).function == ""
    path.unlink()
    path.symlink_to("/dev/zero")
    assert quiet.frame(0x5010).function == ""


def test_a_map_outlives_its_process_and_is_not_taken_from_a_later_one(quiet: Symbolized) -> None:
    write_map(quiet, 65534)
    quiet.symbolizer.refresh(quiet.process)
    os.kill(quiet.process.pid, 9)
    os.waitpid(quiet.process.pid, 0)
    Path(f"/tmp/perf-{quiet.process.pid}.map").write_text("5000 100 later\n")
    assert quiet.frame(0x5010).function == "planted"
