"""Everything that a fault run starts: collector, agents, the proxy between them, and a disk of its own."""

import contextlib
import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.store.chdb import ChdbStore
from tests.e2e.product import free_port, wait_until
from tests.faults.ledger import Ledger
from tests.faults.proxy import Proxy
from tests.faults.verdict import Verdict, judge

DISK_BYTES = 3 << 30
AGENTS = {"killed": 3, "lasting": 3}
"""Processes of agents and how many each has; those of `lasting` are never killed."""


class Process:
    """A child in a session of its own."""

    def __init__(self, module: str, *arguments: str, log: Path, **environment: str) -> None:
        self._log = log.open("a")
        self.child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | environment,
        )

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.child.stdin
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def wait_ready(self) -> None:
        """Wait for its first line."""
        assert self.child.stdout
        assert self.child.stdout.readline(), f"{self.child.args} ended; see {self._log.name}"

    def end(self, number: int, seconds: float = 240) -> int:
        """Send a signal and wait for its exit code."""
        if self.alive:
            self.child.send_signal(number)
        code = self.child.wait(seconds)
        for stream in (self.child.stdin, self.child.stdout, self._log):
            if stream:
                stream.close()
        return code


class Scene:
    """A collector under load. `folder` holds ledgers, logs and the mount point of the collector's disk."""

    def __init__(self, folder: Path, forget: bool = False) -> None:
        self.folder, self._forget = folder, forget
        self.disk = folder / "disk"
        self.kills: Counter[str] = Counter()
        self._agents: dict[str, Process] = {}
        self._collector: Process | None = None
        self.proxy = Proxy(free_port())
        self._step = folder / "clock_step"
        self._step.write_bytes(struct.pack("<q", 0))
        source = Path(__file__).with_name("clock_step.c")
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", folder / "clock_step.so", source]
        subprocess.run(command, check=True)

    def start(self) -> None:
        """Start everything; returns when windows flow."""
        self.start_collector()
        for name in AGENTS:
            self._start_agents(name)
        for process in self._agents.values():
            process.wait_ready()
        self.wait_for_windows()

    def _start_agents(self, name: str) -> None:
        arguments = (str(self.folder), name, str(self.proxy.port), str(AGENTS[name]))
        self._agents[name] = Process("tests.faults.agents", *arguments, log=self.folder / f"{name}.log")

    def start_collector(self) -> None:
        """Start a collector; the proxy leads to it."""
        self._collector = self.another_collector()

    def another_collector(self) -> Process:
        """Start a collector on the same data; new connections go to it."""
        self.proxy.target = free_port()
        mode = ["forget"] * self._forget + ["run"]
        return Process(
            "tests.faults.collector",
            *mode,
            log=self.folder / "collector.log",
            FLEETPROF_GRPC=f"127.0.0.1:{self.proxy.target}",
            FLEETPROF_DATA=str(self.disk / "data"),
            LD_PRELOAD=str(self.folder / "clock_step.so"),
            CLOCK_STEP_FILE=str(self._step),
            FLEETPROF_DISK_FREE="0",  # no guard: the disk is to be truly full
            FLEETPROF_DISK_FREE_PERCENT="0",
        )

    def kill_collector(self) -> None:
        assert self._collector
        assert self._collector.end(signal.SIGKILL) == -signal.SIGKILL, "the collector ended by itself"

    def kill_agents(self) -> None:
        """Kill one process of agents and start it anew, which finds what waited on disk."""
        before = self.ledger()
        self._agents["killed"].end(signal.SIGKILL)
        for agent in {key[0] for key in before.windows if "killed" in key[0]}:
            self.kills[agent] += 1
        self._start_agents("killed")
        self._agents["killed"].wait_ready()

    def step_agents(self, seconds: int) -> None:
        """Step the wall clocks of all agents, for some windows."""
        for process in self._agents.values():
            process.say(str(seconds))

    def step_collector(self, seconds: int) -> None:
        """Set the collector's wall clock off by so much, until it is stepped again."""
        with self._step.open("r+b") as file:
            file.write(struct.pack("<q", seconds))

    def ledger(self) -> Ledger:
        """What the agents have written down so far."""
        return Ledger.read(self.folder)

    def acknowledged(self) -> int:
        """How many acknowledgements there were; cheap."""
        return sum(path.read_bytes().count(b'["ack"') for path in self.folder.glob("*.ledger"))

    def wait_for_windows(self, count: int = 4, seconds: float = 120) -> None:
        """Wait until `count` more windows are acknowledged: the collector works."""
        before = self.acknowledged()
        wait_until(lambda: self.acknowledged() >= before + count, "windows acknowledged", seconds)

    def fill_disk(self) -> None:
        """Leave no byte on the collector's disk."""
        found = os.statvfs(self.disk)
        with (self.disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - (64 << 20), 1))
            file.seek(0, os.SEEK_END)
            while file.write(bytes(1 << 20)):  # the collector takes some meanwhile: up to the last byte
                pass

    def free_disk(self) -> None:
        (self.disk / "ballast").unlink()

    def finish(self) -> Verdict:
        """End the agents, which deliver what waits, then the collector; compare."""
        for process in self._agents.values():
            process.child.terminate()  # all drain at the same time
        for process in self._agents.values():
            assert process.end(signal.SIGTERM) == 0
        assert self._collector
        assert self._collector.end(signal.SIGTERM) == 0, (
            "the collector could not store all; see collector.log"
        )
        self.proxy.close()
        store = ChdbStore(self.disk / "data")
        try:
            return judge(store, self.ledger(), self.kills)
        finally:
            store.close()

    def kill_all(self) -> None:
        """End every process of the scene, whatever its state."""
        for process in (*self._agents.values(), self._collector):
            if process and process.alive:
                process.end(signal.SIGKILL)


@contextmanager
def scene(folder: Path, forget: bool = False) -> Iterator[Scene]:
    """A scene on a disk of its own (a tmpfs), which is unmounted at the end."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "fleetprof-faults", disk], check=True)
    found = Scene(folder, forget)
    try:
        yield found
    finally:
        found.kill_all()
        subprocess.run(["umount", "--lazy", disk], check=True)
