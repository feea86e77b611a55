"""When Java VMs are asked for names, and what is done with what they answer. The asking itself: tests/kernel."""

import contextlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.jvm import refresh
from agent.jvm.refresh import JvmMaps, sampled_addrs
from agent.jvm.target import Facts, HasOwnMap, Refused, facts_of
from agent.process import Mapping, Process
from agent.symbolize.symbolizer import Symbolizer
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from tests.kernel.cpu_load import poll
from tests.unit.rows import Row, captures

CODE = 0x7F0000000000
ADDRS = np.array([CODE + 0x10, CODE + 0x110], np.uint64)


def vm(pid: int = os.getpid()) -> Process:
    """A process with libjvm.so and compiled code; alive, as far as /proc knows."""
    mappings = [
        Mapping(0x400000, 0x500000, 0, "/usr/lib/jvm/libjvm.so", 1, 2),
        Mapping(CODE, CODE + 0x100000, 0, ""),
    ]
    return Process(pid, pid, 1, "java", "/usr/bin/java", mappings=mappings)


class Vm:
    """Answers requests with what it is told to; the requests it got."""

    def __init__(self) -> None:
        self.text = f"{CODE:x} 100 void a.B.first()\n"
        self.refuses: Refused | None = None
        self.requests: list[tuple[int, bool]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def fetch(self, pid: int, since_s: float, ours: bool) -> int:
        self.requests.append((pid, ours))
        assert self.goes_on.wait(30)
        if self.refuses:
            raise self.refuses
        fd = os.memfd_create("map")
        os.write(fd, self.text.encode())
        return fd


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time, in a list of one, as agent.jvm.refresh sees it."""
    now = [1_000_000_000_000]
    monkeypatch.setattr(refresh, "monotonic_ns", lambda: now[0])
    return now


def answered(maps: JvmMaps) -> None:
    """Wait until all requests are answered."""
    for _ in poll(lambda: not maps.waiting):
        pass


def test_a_vm_is_asked_once_and_again_when_it_has_new_code(clock: list[int]) -> None:
    java, process = Vm(), vm()
    maps = JvmMaps(1 << 20, java.fetch)
    maps.look(process, ADDRS[:1], near_end=False)
    answered(maps)
    assert len(java.requests) == 1
    clock[0] += 60_000_000_000
    maps.look(process, ADDRS[:1])
    assert len(java.requests) == 1, "all has its name"
    java.text += f"{CODE + 0x100:x} 100 void a.B.second()\n"
    maps.look(process, ADDRS, near_end=False)
    assert len(java.requests) == 1, "not before the window ends"
    maps.look(process, ADDRS)
    answered(maps)
    assert len(java.requests) == 2
    assert java.requests == [(process.pid, False), (process.pid, True)]
    newest, before = maps.maps_of(process)
    assert newest.names(ADDRS) == ["void a.B.first()", "void a.B.second()"]
    assert before.names(ADDRS) == ["void a.B.first()", ""]
    maps.close()


def test_what_never_has_a_name_is_asked_for_ever_more_seldom(clock: list[int]) -> None:
    java, process = Vm(), vm()
    maps = JvmMaps(1 << 20, java.fetch)
    for _ in range(600):
        clock[0] += 10_000_000_000
        maps.look(process, ADDRS + np.uint64(0x1000))
        answered(maps)
    assert 8 <= len(java.requests) <= 25
    maps.close()


def test_a_map_grows_old(clock: list[int]) -> None:
    java, process = Vm(), vm()
    maps = JvmMaps(1 << 20, java.fetch)
    maps.look(process, ADDRS[:1])
    answered(maps)
    assert len(java.requests) == 1
    clock[0] += refresh.STALE_NS + 1
    maps.look(process, ADDRS[:1])
    answered(maps)
    assert len(java.requests) == 2
    maps.look(process, np.array([0x400010], np.uint64))
    assert len(java.requests) == 2, "code of files has nothing to do with it"
    maps.close()


def test_the_pipeline_never_waits_for_an_answer() -> None:
    java, process = Vm(), vm()
    java.goes_on.clear()
    maps = JvmMaps(1 << 20, java.fetch)
    for _ in range(100):
        maps.look(process, ADDRS)
        assert maps.maps_of(process) == []
    java.goes_on.set()
    answered(maps)
    assert len(java.requests) == 1
    assert len(maps.maps_of(process)) == 1
    maps.close()


@pytest.mark.parametrize(
    ("refusal", "told", "again"),
    [
        (Refused("it is older than Java 17"), "No names of code compiled by Java process", False),
        (Refused("timed out", again=True), "No names of code compiled by Java process", True),
        (Refused("may not", everywhere=True), "java_names = false", False),
        (HasOwnMap(), "", True),
    ],
    ids=["for good", "for now", "everywhere", "own map"],
)
def test_a_refusal_is_told_once_and_counted(
    clock: list[int], caplog: pytest.LogCaptureFixture, refusal: Refused, told: str, again: bool
) -> None:
    java, process = Vm(), vm()
    java.refuses = refusal
    maps = JvmMaps(1 << 20, java.fetch)
    for _ in range(10):
        maps.look(process, ADDRS)
        answered(maps)
        clock[0] += 2 * refresh.REFUSED_NS
    assert (len(java.requests) > 1) == again
    assert len(caplog.messages) == (1 if told else 0)
    assert told in caplog.text
    symbols = Symbolizer(_NoFiles(), asked=maps)
    assert symbols.user_frames(process, ADDRS) == [Frame(FrameKind.JVM, "", "[jit]")] * 2
    assert symbols.take_losses()[DropReason.RUNTIME_NAMES] == (2 if told else 0)
    maps.close()


class _NoFiles:
    def fd(self, mapping: Mapping) -> int | None:
        return None


def test_maps_give_way_to_those_used_later() -> None:
    java = Vm()
    java.text = "".join(f"{CODE + 256 * i:x} 100 void a.B.m{i}()\n" for i in range(2000))
    maps = JvmMaps(300_000, java.fetch)
    processes = [vm(pid) for pid in (os.getpid(), os.getppid(), 1)]
    for process in processes:
        maps.look(process, ADDRS)
        answered(maps)
    assert maps.nbytes < 400_000
    assert maps.maps_of(processes[-1])
    assert not maps.maps_of(processes[0])
    maps.close()


def test_only_java_vms_are_asked() -> None:
    java = Vm()
    maps = JvmMaps(1 << 20, java.fetch)
    shell = Process(7, 7, 1, "bash", "/bin/bash", mappings=[Mapping(CODE, CODE + 4096, 0, "")])
    assert not maps.is_jvm(shell)
    maps.follow(shell, captures([Row(pid=7, user=[CODE])]), 0)
    assert not java.requests
    shell.mappings = vm().mappings
    assert maps.is_jvm(shell), "it loaded libjvm.so"


def test_return_addresses_lie_in_the_call() -> None:
    rows = captures([Row(7, user=[100, 200, 300]), Row(9, user=[5]), Row(7), Row(7, user=[400])])
    assert sampled_addrs(rows, 7).tolist() == [100, 199, 299, 400]
    assert sampled_addrs(rows, 8).tolist() == []


def test_status() -> None:
    status = Path("/proc/self/status").read_bytes()
    found = facts_of(status)
    assert (found.uid, found.gid) == (os.geteuid(), os.getegid())
    inside = b"Name:\tUid: 0\nPid:\t70\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nNSpid:\t70\t8\t1\nSigCgt:\t4\n"
    assert facts_of(inside) == Facts(2, 6, 1, True)
    assert not facts_of(inside.replace(b"SigCgt:\t4", b"SigCgt:\tffffffffb")).catches_quit


@given(st.binary(max_size=200))
def test_any_status(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        facts_of(data)


def test_a_vm_that_got_no_cpu_to_listen_is_tried_once_more(clock: list[int]) -> None:
    java, process = Vm(), vm()
    java.refuses = Refused("it did not listen", again=True, signalled=True)
    maps = JvmMaps(1 << 20, java.fetch)
    for _ in range(20):
        maps.look(process, ADDRS)
        answered(maps)
        clock[0] += refresh.REFUSED_NS * 100
    assert len(java.requests) == 2, "each time it may print all its stacks"
    maps.close()
