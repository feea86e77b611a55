"""An agent of one network namespace speaks for the processes in it, and for nothing else."""

import os
import subprocess

import pytest

from agent.process import Process
from agent.scope import HOST, NETWORK_NAMESPACE, inside, scope_of
from tests.unit.rows import Row, captures


def process(pid: int, is_kernel: bool = False) -> Process:
    return Process(pid, pid, 0, "x", "/x", is_kernel=is_kernel)


def test_the_whole_host_keeps_every_row() -> None:
    rows = captures([Row(), Row(pid=2)])
    kept, owners = inside(scope_of(HOST), rows, [None, process(2)])
    assert (len(kept), len(owners)) == (2, 2)


@pytest.mark.kernel
def test_other_namespaces_kernel_threads_and_lost_processes_are_left_out() -> None:
    elsewhere = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; read line"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE)  # fmt: skip
    assert elsewhere.stdout
    assert elsewhere.stdin
    elsewhere.stdout.readline()
    owners = [process(os.getpid()), process(elsewhere.pid), process(2, is_kernel=True), None]
    rows = captures([Row(value_ns=number) for number in range(4)])
    kept, mine = inside(scope_of(NETWORK_NAMESPACE), rows, owners)
    elsewhere.communicate(b"\n")
    assert (kept.value_ns.tolist(), mine) == ([0], owners[:1])
