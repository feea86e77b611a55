"""Everything that a fault run starts: store, collector, agents, the proxy between them, and a disk of its own."""

import contextlib
import itertools
import os
import signal
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.product import wait_until
from tests.faults.ledger import Ledger
from tests.faults.places import PLACES, Place
from tests.faults.process import Process
from tests.faults.proxy import Proxy
from tests.faults.verdict import Verdict, judge

DISK_BYTES = 3 << 30
WAIT_S = 900.0
"""Longest wait for windows: a busy machine takes minutes to start a collector."""
FIRST_PORT = 10_000
"""Below those that the kernel gives to outgoing connections."""
AGENTS = {"killed": 3, "lasting": 3}
"""Processes of agents and how many each has; those of `lasting` are never killed."""
DRAIN_S = 900.0
"""Agents give up by themselves when nothing is delivered (agents.py)."""


class Scene:
    """A collector under load. `folder` holds ledgers, logs and the mount point of the collector's disk."""

    def __init__(self, folder: Path, place: Place, forget: bool = False) -> None:
        self.folder, self.place, self._forget = folder, place, forget
        self.disk = folder / "disk"
        self.kills: Counter[str] = Counter()
        self.data = self.disk / "data"
        """The data folder of the collector that stores now."""
        self._agents: dict[str, Process] = {}
        self._collectors: list[Process] = []
        """All that were started."""
        self._collector: Process | None = None
        self._acknowledged: dict[Path, tuple[int, int]] = {}
        """Ledger → how far it was read, and acknowledgements until there."""
        self._ports = itertools.count(FIRST_PORT)
        self.proxy = Proxy(self.port())
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
        arguments = (
            str(self.folder),
            name,
            str(self.proxy.port),
            str(AGENTS[name]),
            str(self.place.in_memory),
        )
        self._agents[name] = Process("tests.faults.agents", *arguments, log=self.folder / f"{name}.log")

    def port(self) -> int:
        """A port for a collector, which nobody else takes in this network (own_space.py)."""
        return next(self._ports)

    @property
    def collector(self) -> Process:
        """The collector that stores now."""
        assert self._collector
        return self._collector

    @property
    def other_data(self) -> Path:
        """The data folder of another machine."""
        return self.disk / ("data" if self.data.name != "data" else "data-elsewhere")

    def start_collector(self) -> None:
        """Start a collector; the proxy leads to it."""
        port = self.port()
        self.replace_collector(self.another_collector(port, self.data), port, self.data)

    def replace_collector(self, process: Process, port: int, data: Path) -> None:
        """From now on the collector is `process`, with its port and data folder."""
        self._collector, self.proxy.target, self.data = process, port, data

    def another_collector(self, port: int, data: Path, standby: bool = False) -> Process:
        """Start a collector on the same store."""
        mode = ["forget"] * self._forget + ["run"]
        made = Process(
            "tests.faults.collector",
            *mode,
            log=self.folder / "collector.log",
            FLEETPROF_GRPC=f"127.0.0.1:{port}",
            FLEETPROF_DATA=str(data),
            FLEETPROF_STORE=self.place.address(),
            FLEETPROF_STANDBY=str(standby).lower(),
            LD_PRELOAD=str(self.folder / "clock_step.so"),
            CLOCK_STEP_FILE=str(self._step),
            FLEETPROF_DISK_FREE="0",  # no guard: the disk is to be truly full
            FLEETPROF_DISK_FREE_PERCENT="0",
        )
        self._collectors.append(made)
        return made

    def kill_collector(self) -> None:
        assert self.collector.end(signal.SIGKILL) == -signal.SIGKILL, "the collector ended by itself"

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
        """How many acknowledgements there were; reads what is new."""
        for path in self.folder.glob("*.ledger"):
            read, count = self._acknowledged.get(path, (0, 0))
            with path.open("rb") as file:
                file.seek(read)
                lines = file.read()
            whole = lines.rfind(b"\n") + 1
            self._acknowledged[path] = read + whole, count + lines[:whole].count(b'["ack"')
        return sum(count for _, count in self._acknowledged.values())

    def wait_for_windows(self, count: int = 4) -> None:
        """Wait until `count` more windows are acknowledged: the collector works."""
        before = self.acknowledged()

        def there() -> bool:
            assert self.collector.alive, "the collector ended by itself; see collector.log"
            return self.acknowledged() >= before + count

        wait_until(there, "windows acknowledged", WAIT_S)

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
        """Start what is dead, end the agents, which deliver what waits, then the collector; compare."""
        self.place.heal()
        for process in self._agents.values():
            process.child.terminate()  # all drain at the same time
        for process in self._agents.values():
            assert process.ended(DRAIN_S) == 0
        assert self.collector.end(signal.SIGTERM) == 0, "the collector could not store all; see collector.log"
        self.proxy.close()
        store = self.place.open(self.data)
        try:
            return judge(store, self.ledger(), self.kills, self.place.in_memory)
        finally:
            store.close()

    def kill_all(self) -> None:
        """End every process of the scene, whatever its state."""
        for process in (*self._agents.values(), *self._collectors):
            if process.alive:
                process.end(signal.SIGKILL)
        self.place.stop()


@contextmanager
def scene(folder: Path, forget: bool = False, place: str = "chdb") -> Iterator[Scene]:
    """A scene on a disk of its own (a tmpfs), which is unmounted at the end."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "fleetprof-faults", disk], check=True)
    try:
        found = Scene(folder, PLACES[place](disk / "servers"), forget)
        try:
            yield found
        finally:
            found.kill_all()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
