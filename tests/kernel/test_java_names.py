"""Names of compiled Java code, asked of running Java VMs: as other users, in namespaces of their own, and of those
that refuse, are slow or lie."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from agent.jvm import attach
from agent.jvm.attach import fetch_perf_map
from agent.jvm.credentials import as_user
from agent.jvm.facts import java_names, java_vms
from agent.jvm.refresh import JvmMaps
from agent.jvm.target import HasOwnMap, Refused, Target
from agent.symbolize.perf_map import PerfMap
from tests.kernel.cpu_load import poll
from tests.workloads.build import Running, build, running, tool
from tests.workloads.processes import process_of

pytestmark = pytest.mark.kernel

OTHER = 65534


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled classes, readable by everybody."""
    made = tmp_path_factory.mktemp("java")
    build("java", made)
    for each in (made, *list(made.parents)[:-2]):
        each.chmod(each.stat().st_mode | 0o055)
    return made


def command(folder: Path, *flags: str) -> list[str]:
    return [tool("java"), *flags, "-cp", str(folder), "NamesJava"]


@contextmanager
def java(folder: Path, *flags: str, prefix: tuple[str, ...] = ()) -> Iterator[Running]:
    with running(command(folder, *flags), prefix=prefix) as program:
        yield program
        for name in (f".java_pid{program.pid}", f"perf-{program.pid}.map"):
            Path("/tmp", name).unlink(missing_ok=True)


def names_in(fd: int) -> str:
    try:
        return os.pread(fd, 32 << 20, 0).decode()
    finally:
        os.close(fd)


def fetch(pid: int, ours: bool = False) -> str:
    """The text of a Java VM's perf map."""
    return names_in(fetch_perf_map(pid, 0, ours))


def left_behind(pid: int, root: str = "/tmp") -> list[str]:
    """What lies in /tmp because of a process."""
    return [name for name in os.listdir(root) if name.endswith((f"pid{pid}", f"-{pid}.map"))]


def test_a_java_vm_tells_what_it_compiled_and_keeps_running(folder: Path) -> None:
    with java(folder) as program:
        text = fetch(program.pid)
        assert "long NamesJava.spinInner(long)" in text
        assert "Interpreter" in text
        assert left_behind(program.pid) == [f".java_pid{program.pid}"], "the VM's own socket, no more"
        again = fetch(program.pid, ours=True)
        assert "NamesJava.spinInner" in again
        assert Path(f"/proc/{program.pid}/stat").read_text().split()[2] != "Z"
    assert os.geteuid() == 0


def test_of_another_user(folder: Path) -> None:
    prefix = (tool("setpriv"), "--reuid", str(OTHER), "--regid", str(OTHER), "--clear-groups")
    with java(folder, prefix=prefix) as program:
        assert Path(f"/proc/{program.pid}").stat().st_uid == OTHER
        assert "NamesJava.spinInner" in fetch(program.pid)
        assert left_behind(program.pid) == [f".java_pid{program.pid}"]


def test_in_mount_pid_and_user_namespaces_of_its_own(folder: Path) -> None:
    """As in a rootless container: its root is nobody on the host, its pid is another, its /tmp is its own."""
    hide = f"mount --bind {folder} /mnt && mount -t tmpfs none /tmp && mkdir -p {folder}"
    script = f'{hide} && mount --bind /mnt {folder} && "$0" "$@"; exit $?'
    user = (tool("setpriv"), "--reuid", "100000", "--regid", "100000", "--clear-groups")
    apart = (tool("unshare"), "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")
    inner = (*user, *apart, "sh", "-c", script)
    with running(command(folder), prefix=inner) as program:
        pid = descendant(program.pid, "java")
        with Target(pid) as target:
            assert target.facts.namespace_pid != pid
            assert target.facts.uid == 100000
        assert "NamesJava.spinInner" in fetch(pid)
        inside = f"/proc/{pid}/root/tmp"
        assert [name for name in os.listdir(inside) if name.startswith(("perf", ".attach"))] == []


def descendant(pid: int, comm: str) -> int:
    """The process below `pid` that runs `comm`."""
    while Path(f"/proc/{pid}/comm").read_text().strip() != comm:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert children, f"no {comm} below"
        pid = int(children[0])
    return pid


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("-XX:+DisableAttachMechanism", "started with -XX:\\+DisableAttachMechanism"),
        ("-Xrs", ""),
    ],
)
def test_one_that_does_not_want_to_is_left_in_peace(folder: Path, flag: str, why: str) -> None:
    """SIGQUIT would end the one and make the other print all stacks."""
    with java(folder, flag) as program:
        if why:
            with pytest.raises(Refused, match=why):
                fetch(program.pid)
        else:  # with -Xrs it listens from its start, so that it need not be woken
            assert "NamesJava.spinInner" in fetch(program.pid)
        assert Path(f"/proc/{program.pid}/stat").read_text().split()[2] in "RS"


def test_what_is_no_java_vm_gets_no_signal() -> None:
    with subprocess.Popen([tool("sleep"), "60"]) as sleeping:
        with pytest.raises(Refused, match="does not handle SIGQUIT"):
            fetch(sleeping.pid)
        assert sleeping.poll() is None
        sleeping.kill()
    with pytest.raises(Refused):
        fetch(sleeping.pid)


def test_a_map_of_somebody_else_is_not_touched(folder: Path) -> None:
    with java(folder) as program:
        path = Path(f"/tmp/perf-{program.pid}.map")
        path.write_text("1000 10 mine\n")
        with pytest.raises(HasOwnMap):
            fetch_perf_map(program.pid, time.time() - 60, ours=False)
        assert path.read_text() == "1000 10 mine\n"
        leftover = fetch_perf_map(program.pid, time.time() + 60, ours=False)
        assert "NamesJava.spinInner" in names_in(leftover)


def test_a_link_in_its_place_is_not_followed(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    with java(folder) as program:
        link = Path(f"/tmp/perf-{program.pid}.map")
        link.symlink_to(precious)
        assert "NamesJava.spinInner" in fetch(program.pid, ours=True)
        assert not link.is_symlink()
    assert precious.read_text() == "as it was"


@pytest.fixture
def sleeper() -> Iterator[int]:
    started = subprocess.Popen([tool("sleep"), "60"])
    yield started.pid
    started.kill()
    started.wait()
    Path(f"/tmp/.java_pid{started.pid}").unlink(missing_ok=True)


def test_a_socket_of_another_process_is_not_believed(sleeper: int) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/tmp/.java_pid{sleeper}")
        listener.listen()
        with pytest.raises(Refused, match="another process"):
            fetch(sleeper)


def test_a_link_to_a_socket_elsewhere_is_not_followed(sleeper: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen()
        listener.settimeout(0)
        Path(f"/tmp/.java_pid{sleeper}").symlink_to(tmp_path / "docker.sock")
        with pytest.raises(Refused):
            fetch(sleeper)
        with pytest.raises(BlockingIOError):
            listener.accept()


MUTE = """
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
path = f"/tmp/.java_pid{os.getpid()}"
if os.path.exists(path):  # of a killed Java VM that had this pid
    os.unlink(path)
listener.bind(path)
listener.listen()
print("ready", flush=True)
if sys.argv[1] == "mute":
    time.sleep(60)
connection, _ = listener.accept()
connection.recv(1000)
unknown = b"1\\njava.lang.IllegalArgumentException: Unknown diagnostic command\\n"
answers = {"closes": b"", "garbage": b"\\xff" * 3000, "old": unknown, "nothing": b"0\\n"}
connection.sendall(answers[sys.argv[1]])
if sys.argv[1] == "garbage":
    while True:
        connection.sendall(b"x" * 4096)
"""


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ("mute", "timed out"),
        ("closes", "answered: nothing"),
        ("garbage", "answered"),
        ("old", "older than Java 17"),
        ("nothing", "wrote no"),
    ],
)
def test_one_that_lies_or_does_not_answer(behaviour: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "ANSWER_TIMEOUT_S", 0.5)
    with subprocess.Popen([tool("python3"), "-c", MUTE, behaviour], stdout=subprocess.PIPE) as liar:
        try:
            assert liar.stdout
            assert liar.stdout.readline() == b"ready\n"
            with pytest.raises(Refused, match=why):
                fetch(liar.pid)
        finally:
            liar.kill()
            Path(f"/tmp/.java_pid{liar.pid}").unlink(missing_ok=True)


def test_a_stopped_java_vm_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "LISTEN_TIMEOUT_S", 0.3)
    with java(folder) as program:
        os.kill(program.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Refused, match="did not listen"):
                fetch(program.pid)
            assert left_behind(program.pid) == []
        finally:
            os.kill(program.pid, signal.SIGCONT)


def test_acting_as_another_user_is_of_one_thread(tmp_path: Path) -> None:
    inside, done = threading.Event(), threading.Event()
    seen: dict[str, object] = {}

    def act() -> None:
        with as_user(OTHER, OTHER):
            status = Path("/proc/thread-self/status").read_text()
            seen["inside"] = [
                line.split()[1:] for line in status.splitlines() if line[:4] in ("Uid:", "Gid:")
            ]
            seen["groups"] = next(
                line.split()[1:] for line in status.splitlines() if line.startswith("Groups:")
            )
            inside.set()
            done.wait(30)
        seen["after"] = (os.geteuid(), os.getegid(), os.getgroups())

    before = (os.geteuid(), os.getegid(), os.getgroups())
    thread = threading.Thread(target=act)
    thread.start()
    assert inside.wait(30)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
    done.set()
    thread.join()
    other, own = str(OTHER), "0"
    assert seen["inside"] == [[own, other, own, other], [own, other, own, other]]
    assert seen["groups"] == [other]
    assert seen["after"] == before


def wanted_addr(pid: int) -> int:
    """Where the code of spinInner lies now."""
    known = PerfMap()
    fd = fetch_perf_map(pid, 0, ours=True)
    text = os.pread(fd, 32 << 20, 0).decode()
    known.update(fd)
    os.close(fd)
    line = next(line for line in reversed(text.splitlines()) if line.endswith("NamesJava.spinInner(long)"))
    return int(line.split()[0], 16)


def test_maps_are_fetched_beside_the_pipeline(folder: Path) -> None:
    with java(folder) as program:
        addr = np.array([wanted_addr(program.pid) + 4], np.uint64)
        process = process_of(program.pid)
        maps = JvmMaps(8 << 20)
        try:
            assert maps.is_jvm(process)
            assert maps.maps_of(process) == []
            maps.look(process, addr)
            for _ in poll(lambda: bool(maps.maps_of(process))):
                pass
            (found,) = maps.maps_of(process)
            assert found.names(addr) == ["long NamesJava.spinInner(long)"]
            maps.look(process, addr)
            assert maps.maps_of(process) == [found], "nothing is asked for twice"
        finally:
            maps.close()
        assert left_behind(program.pid) == [f".java_pid{program.pid}"]


def test_doctor_tells_which_java_vms_refuse(folder: Path) -> None:
    with java(folder) as willing, java(folder, "-XX:+DisableAttachMechanism") as unwilling:
        assert {willing.pid, unwilling.pid} <= set(java_vms())
        fact = java_names(True)
        assert not fact.ok
        assert f"process {unwilling.pid}: it was started with -XX:+DisableAttachMechanism" in fact.advice
        assert f"process {willing.pid}:" not in fact.advice
        # The socket may be what an agent of a test beside this one asked for; doctor asks for no map.
        assert set(left_behind(willing.pid)) <= {f".java_pid{willing.pid}"}
    assert java_names(False).ok
