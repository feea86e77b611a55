"""The table of processes against real ones: short-lived, forked, replaced, hidden in namespaces."""

import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.process import Process
from agent.process_images import Image, Origin
from agent.processes import MAX_CPU_SHARE, ProcessTable
from fleetprof.losses import DropReason

pytestmark = pytest.mark.kernel
SOURCE = Path(__file__).parents[1] / "workloads" / "processes.c"
NAMES = ["OTEL_SERVICE_NAME", "DD_*"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("processes") / "processes"
    flags = ["-O1", "-fno-omit-frame-pointer", "-pthread", "-Wl,--build-id", "-o", str(path)]
    subprocess.run(["gcc", *flags, str(SOURCE), "-ldl"], check=True)
    return path


@pytest.fixture
def table() -> Iterator[ProcessTable]:
    made = ProcessTable(environment_names=NAMES)
    yield made
    made.close()


def serve(table: ProcessTable, done: Callable[[], bool], seconds: float = 20) -> None:
    """What the pipeline does until `done`: wait for the table's descriptors, poll."""
    deadline = time.monotonic() + seconds
    with select.epoll() as poller:
        for fd in table.fds():
            poller.register(fd, select.EPOLLIN)
        while not done():
            assert time.monotonic() < deadline
            if poller.poll(0.02):
                table.poll()
    table.poll()


def wait_until(done: Callable[[], bool], seconds: float = 20) -> None:
    """Wait without looking at the table."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        os.sched_yield()


def run(table: ProcessTable, *command: str | Path, **environment: str) -> tuple[subprocess.Popen[bytes], int]:
    """Run a command while serving the table: (the ended process, the time at which it had ended)."""
    child = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE)
    serve(table, lambda: child.poll() is not None)
    return child, time.monotonic_ns()


def found(table: ProcessTable, pid: int, time_ns: int = 0) -> Process:
    process = table.find(pid, time_ns)
    assert process is not None
    return process


def content(table: ProcessTable, process: Process, name: str) -> bytes:
    """The first bytes of the file that a process maps under `name`, read through the table's descriptor."""
    mapping = next(one for one in process.mappings if Path(one.path).name.startswith(name))
    fd = table.files.fd(mapping)
    assert fd is not None
    return os.pread(fd, 1 << 20, 0)


def test_a_process_of_200_ms_is_known_after_it_ended(table: ProcessTable, program: Path) -> None:
    child, ended_ns = run(table, program, "spin", "200", OTEL_SERVICE_NAME="shop", DD_ENV="test", SECRET="1")
    process = found(table, child.pid, ended_ns)
    assert process.exe == str(program)
    assert process.command_line == (str(program), "spin", "200")
    assert process.environment == {
        **{name: value for name, value in os.environ.items() if name.startswith("DD_")},
        "OTEL_SERVICE_NAME": "shop",
        "DD_ENV": "test",
    }
    assert process.comm == "processes"
    assert process.cgroup == Path("/proc/self/cgroup").read_text()
    assert process.parent_pid == os.getpid()
    assert content(table, process, "processes") == program.read_bytes()
    assert content(table, process, "libc")[:4] == b"\x7fELF"
    assert any(mapping.path == "[vdso]" for mapping in process.mappings)
    notes = subprocess.run(["readelf", "-n", program], capture_output=True, text=True, check=True).stdout
    assert len(process.exe_build_id) == 40
    assert process.exe_build_id in notes
    assert table.find(child.pid, ended_ns) is process


def test_mappings_told_by_events_are_those_in_proc(table: ProcessTable, program: Path) -> None:
    with subprocess.Popen([program, "jit", "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        area = int(child.stdout.readline(), 16)
        table.poll()
        by_events = found(table, child.pid).mappings
        fresh = ProcessTable()
        by_proc = found(fresh, child.pid).mappings
        fresh.close()
    names = lambda mappings: {(m.start_addr, m.path, m.device, m.inode) for m in mappings}  # noqa: E731
    seen_first = {one for one in names(by_events) if one[1] != "[vsyscall]"}
    assert seen_first >= {one for one in names(by_proc) if one[1] != "[vsyscall]"}
    assert [m.start_addr for m in by_events if not m.path] == [area, area + 0x2000, area + 0x4000]


def test_a_program_in_its_own_mount_and_pid_namespace(table: ProcessTable, program: Path) -> None:
    script = (
        f"mount -t tmpfs private /mnt && cp {program} /mnt/only-here && mount -t proc proc /proc && "
        "exec /mnt/only-here spin 200"
    )
    child, ended_ns = run(
        table, "unshare", "--mount", "--pid", "--fork", "sh", "-c", script, OTEL_SERVICE_NAME="hidden"
    )
    assert child.returncode == 0
    assert not Path("/mnt/only-here").exists()
    process = next(
        found(table, pid, ended_ns)
        for pid in range(child.pid + 1, child.pid + 1000)
        if (one := table._images.at(pid, ended_ns)) and one.comm == "only-here"
    )
    assert process.exe == "/mnt/only-here"
    assert process.namespace_pid == 1
    assert process.environment["OTEL_SERVICE_NAME"] == "hidden"
    assert content(table, process, "only-here") == program.read_bytes()


def test_a_deleted_program_can_be_read(table: ProcessTable, program: Path, tmp_path: Path) -> None:
    copy = tmp_path / "short lived (deleted)"
    shutil.copy(program, copy)
    child = subprocess.Popen([copy, "spin", "200"])
    copy.unlink()
    serve(table, lambda: child.poll() is not None)
    process = found(table, child.pid, time.monotonic_ns())
    assert content(table, process, "short lived") == program.read_bytes()


def test_an_exec_makes_another_image_of_the_same_pid(table: ProcessTable, program: Path) -> None:
    begin_ns = time.monotonic_ns()
    child, ended_ns = run(table, program, "exec", "50", "/bin/sleep", "0.2")
    last = found(table, child.pid, ended_ns)
    first = found(table, child.pid, last.start_ns - 1)
    assert Path(last.exe).name == "sleep"
    assert first.exe == str(program)
    assert begin_ns < first.start_ns < last.start_ns < ended_ns
    assert last.command_line == ("/bin/sleep", "0.2")
    assert not any(mapping.path == str(program) for mapping in last.mappings)
    assert table.find(child.pid, begin_ns) is None


def test_children_of_a_forking_server_share_its_image(table: ProcessTable, program: Path) -> None:
    child, ended_ns = run(table, program, "fork", "3", "20", OTEL_SERVICE_NAME="server")
    assert child.stdout is not None
    pids = [int(line) for line in child.stdout.read().split()]
    assert len(pids) == 3
    for pid in pids:
        process = found(table, pid, ended_ns)
        assert process.pid == pid
        assert process.exe == str(program)
        assert process.environment["OTEL_SERVICE_NAME"] == "server"
        assert process.parent_pid == child.pid
        assert content(table, process, "processes") == program.read_bytes()


def test_a_library_loaded_later_is_seen(table: ProcessTable, program: Path, tmp_path: Path) -> None:
    (tmp_path / "late.c").write_text("int late(void) { return 1; }")
    library = tmp_path / "liblate.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "late.c"], check=True)
    child, ended_ns = run(table, program, "load", library, "100")
    library_bytes = library.read_bytes()
    library.unlink()
    assert content(table, found(table, child.pid, ended_ns), "liblate") == library_bytes


def test_a_process_outlives_its_main_thread(table: ProcessTable, program: Path) -> None:
    child = subprocess.Popen([program, "headless", "400"])
    stat = Path(f"/proc/{child.pid}/stat")
    serve(table, lambda: ") Z " in stat.read_text())
    fresh = ProcessTable()
    assert found(fresh, child.pid).exe == str(program)
    fresh.close()
    assert found(table, child.pid, time.monotonic_ns()).exe == str(program)
    child.wait()


def test_processes_older_than_the_table_and_the_kernels_own(table: ProcessTable) -> None:
    me = found(table, os.getpid(), time.monotonic_ns())
    assert me.command_line[0]
    assert me.mappings
    assert found(table, 2).is_kernel
    assert found(table, 2).exe == ""
    assert found(table, 0).is_kernel
    assert table.find(2**22 + 1, time.monotonic_ns()) is None
    assert sum(table.take_losses().values()) == 1
    assert table.find(2**22 + 1, time.monotonic_ns()) is None
    assert not table.take_losses()


def test_the_table_wakes_only_when_there_was_something(table: ProcessTable) -> None:
    """This machine is never quite idle, so: no more wakings than records, and none without a cause."""
    wakings = records = 0
    with select.epoll() as poller:
        poller.register(table.fds()[0], select.EPOLLIN)
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            wakings += bool(poller.poll(0.2))
            records += len(table._events.read().records)
    assert wakings <= records


def test_what_was_lost_with_a_full_ring_is_read_again(table: ProcessTable, program: Path) -> None:
    cpu = str(min(os.sched_getaffinity(0)))
    on_one_cpu = ["taskset", "-c", cpu]
    child = subprocess.Popen(
        [*on_one_cpu, program, "late", "5000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    sleeper = None
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        known = found(table, child.pid, time.monotonic_ns())
        child.stdin.write(b"\n")
        child.stdin.flush()
        area = int(child.stdout.readline(), 16)  # twice as many records as the ring holds, and nobody read
        sleeper = subprocess.Popen([*on_one_cpu, "sleep", "60"])
        wait_until(lambda: b"sleep\0" in Path(f"/proc/{sleeper.pid}/cmdline").read_bytes())
        process = found(table, child.pid, time.monotonic_ns())
        assert process is known
        assert {area, area + 2 * 4999 * 4096} <= {one.start_addr for one in process.mappings}
        assert Path(found(table, sleeper.pid, time.monotonic_ns()).exe).name in ("sleep", "coreutils")
        subprocess.run([*on_one_cpu, "true"], check=True)  # the kernel tells how many with its next record
        table.poll()
        assert table.take_losses()[DropReason.PERF_LOST] > 1000
    finally:
        for one in (child, sleeper):
            if one is not None:
                one.kill()
                one.communicate()


def test_a_loss_takes_nothing_from_a_process_that_ended(table: ProcessTable, program: Path) -> None:
    with subprocess.Popen([program, "spin", "1"]) as child:
        pass
    ended_ns = time.monotonic_ns()
    table.poll()
    table._lost_ns = ended_ns
    assert found(table, child.pid, ended_ns).exe == str(program)


def test_what_is_asked_for_is_true_also_while_the_table_rests(table: ProcessTable, program: Path) -> None:
    table._cpu_ns.spend(60e9 * MAX_CPU_SHARE)
    assert not table.poll()
    with subprocess.Popen([program, "jit", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        process = found(table, child.pid, time.monotonic_ns())
    assert process.exe == str(program)
    assert not table.poll()


def test_an_image_in_the_middle_of_its_exec_is_not_lost(
    table: ProcessTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment cannot be met on purpose: this process is given the first record of an exec, no mapping."""
    monkeypatch.setattr("agent.process_snapshots.SETTLED_NS", 60_000_000_000)
    me, now_ns = os.getpid(), time.monotonic_ns()
    before = found(table, me, now_ns)
    image = Image(me, now_ns + 1, Origin.EXECED, comm="later")
    table._images.add(image)
    assert table.find(me, now_ns + 1) is before
    assert not table.take_losses()
    image.mappings = before.mappings
    after = found(table, me, now_ns + 1)
    assert after is not before
    assert after.exe == before.exe
    assert after.start_ns == now_ns + 1


def test_limits_hold_under_a_storm_of_processes(program: Path) -> None:
    table = ProcessTable(limit=64)
    open_before = len(os.listdir("/proc/self/fd"))
    run(table, program, "fork", "300", "0")
    assert len(table) <= 64
    assert len(os.listdir("/proc/self/fd")) <= open_before + len(table.files) + 2
    table.expire(time.monotonic_ns() + 40_000_000_000)
    table.close()
