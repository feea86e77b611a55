"""An agent that is killed leaves nothing in the kernel."""

import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.libbpf import Library
from tests.kernel.cpu_load import poll

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
RUN = """
import select, sys
from agent.backends.interface import BackendOptions
from agent.backends.probe import choose
backend = choose(sys.argv[1], BackendOptions())
print("ready", flush=True)
select.select([], [], [])
"""
OPENERS = {
    "prog_id": "bpf_prog_get_fd_by_id",
    "map_id": "bpf_map_get_fd_by_id",
    "link_id": "bpf_link_get_fd_by_id",
}


def held_by(pid: int) -> dict[str, set[int]]:
    """Ids of the programs, maps and links that a process holds open, by kind."""
    found: dict[str, set[int]] = {kind: set() for kind in OPENERS}
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        for kind, number in re.findall(r"^(prog_id|map_id|link_id):\s*(\d+)$", path.read_text(), re.M):
            found[kind].add(int(number))
    return found


def exists(kind: str, number: int) -> bool:
    fd = getattr(Library.get(), OPENERS[kind])(ctypes.c_uint32(number))
    if fd >= 0:
        os.close(fd)
        return True
    assert fd == -errno.ENOENT
    return False


@pytest.mark.parametrize("backend", ["core", "bcc"])
def test_nothing_stays_after_kill(backend: str) -> None:
    agent = subprocess.Popen(
        [sys.executable, "-c", RUN, backend], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout
    assert agent.stdout.readline() == "ready\n"
    held = held_by(agent.pid)
    assert held["prog_id"]
    assert held["map_id"]
    assert bool(held["link_id"]) == (backend == "core")
    assert all(exists(kind, number) for kind, numbers in held.items() for number in numbers)
    agent.kill()
    agent.wait()
    agent.stdout.close()
    everything = [(kind, number) for kind, numbers in held.items() for number in numbers]
    for _ in poll(lambda: not any(exists(*one) for one in everything)):
        pass
