"""A long run: worker processes, counts that outlive it, and what broke anything.

A worker feeds chunks of one subject and appends a line to the results for each. Before each input it copies it into
a file that is mapped, so that the input that ends the process, whatever ended it, is known. Results are lines of
JSON: a chunk's figures, or a finding.
"""

import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.run import Result, run
from tests.fuzz.subjects import subject_of

CHUNK_INPUTS = 5000
WORKER_CHUNKS = 20
STUCK_CPU_S = 300
"""A chunk that takes longer hangs in code that is not Python: SIGVTALRM ends the worker."""
INPUT_BYTES = 32 << 20
MAX_CRASHES = 10
"""Of a subject's workers, until it is given up."""
MAX_KEPT = 20
"""Inputs kept of one subject and kind of error."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run keeps what it finds."""

    results: Path
    """Lines of JSON."""
    keep: Path
    """Inputs that broke something."""

    def add(self, **facts: Any) -> None:
        """Append one line, whole even where several processes do so."""
        self.keep.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.results, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, json.dumps(facts).encode() + b"\n")
        finally:
            os.close(fd)

    def lines(self) -> list[dict[str, Any]]:
        """All lines so far."""
        try:
            return [json.loads(line) for line in self.results.read_text().splitlines() if line]
        except FileNotFoundError:
            return []


class LastInput:
    """The input that is being fed, in a mapped file: its length, then its bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("wb+") as file:
            file.truncate(INPUT_BYTES)
            self._mapped = mmap.mmap(file.fileno(), INPUT_BYTES)

    def put(self, data: bytes) -> None:
        """Keep an input in place of the last one."""
        self._mapped[: 8 + len(data)] = len(data).to_bytes(8, "little") + data

    @staticmethod
    def read(path: Path) -> bytes:
        """What a worker that is gone was fed last."""
        data = path.read_bytes()
        return data[8 : 8 + int.from_bytes(data[:8], "little")]


@dataclass(slots=True)
class _Keeper:
    """Keeps inputs that break a subject, and goes on."""

    name: str
    places: Places
    last: LastInput
    seed: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def fed(self, data: bytes) -> None:
        self.last.put(data)

    def failed(self, data: bytes, number: int, error: BaseException) -> bool:
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} {Path(where.filename).name}:{where.lineno}"
        self.seen[kind] += 1
        if self.seen[kind] <= MAX_KEPT:
            path = self.places.keep / f"{self.name}-{self.seed}-{number}"
            path.write_bytes(data)
            self.places.add(subject=self.name, finding=kind, said=str(error)[:300], input=str(path))
        return True


def work(name: str, first_seed: int, chunks: int, chunk_inputs: int, places: Places) -> None:
    """Feed so many chunks of one subject, each with the next seed."""
    places.keep.mkdir(parents=True, exist_ok=True)
    subject = subject_of(name)
    keeper = _Keeper(name, places, LastInput(_last_path(places, name, first_seed)))
    for data in subject.seeds:
        subject.feed(data)
    subject.settle()
    limit = _mapped_bytes() + 2 * subject.most_bytes + (256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    for seed in range(first_seed, first_seed + chunks):
        keeper.seed = seed
        signal.setitimer(signal.ITIMER_VIRTUAL, STUCK_CPU_S)
        found = run(name, chunk_inputs, seed, subject, keeper)
        places.add(seed=seed, **found._asdict())
    keeper.last.path.unlink()


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()


def _last_path(places: Places, name: str, first_seed: int) -> Path:
    return places.keep / f"{name}-{first_seed}.last"


@dataclass(slots=True)
class _Worker:
    name: str
    first_seed: int
    process: "subprocess.Popen[bytes]"


@dataclass(slots=True)
class Campaign:
    """Feeds `inputs` to each subject in `processes` workers, or as many as there is time for; goes on where the
    results end."""

    names: tuple[str, ...]
    inputs: int
    processes: int
    seconds: float
    places: Places
    chunk_inputs: int = CHUNK_INPUTS
    _next_seed: Counter[str] = field(default_factory=Counter)
    _ordered: Counter[str] = field(default_factory=Counter)
    """Inputs fed or being fed."""
    _crashes: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Work until all is done or time is up."""
        for line in self.places.lines():
            name = line["subject"]
            if "inputs" in line:
                self._ordered[name] += line["inputs"]
                self._next_seed[name] = max(self._next_seed[name], line["seed"] + 1)
            elif "first_seed" in line:
                self._next_seed[name] = max(self._next_seed[name], line["first_seed"] + WORKER_CHUNKS)
        workers: list[_Worker] = []
        until_s = time.monotonic() + self.seconds
        try:
            while True:
                while (waiting := self._waiting()) and len(workers) < self.processes:
                    name = min(waiting, key=lambda each: self._ordered[each])
                    workers.append(self._start(name))
                if not workers or time.monotonic() >= until_s:
                    return
                workers = [worker for worker in workers if not self._ended(worker)]
                time.sleep(0.2)
        finally:
            for worker in workers:
                worker.process.terminate()
                worker.process.wait()
                _last_path(self.places, worker.name, worker.first_seed).unlink(missing_ok=True)

    def _waiting(self) -> list[str]:
        """Subjects that need more inputs."""
        return [
            name
            for name in self.names
            if self._ordered[name] < self.inputs and self._crashes[name] < MAX_CRASHES
        ]

    def _start(self, name: str) -> _Worker:
        first, chunks = self._next_seed[name], WORKER_CHUNKS
        chunks = min(chunks, -(-(self.inputs - self._ordered[name]) // self.chunk_inputs))
        self._next_seed[name] += chunks
        self._ordered[name] += chunks * self.chunk_inputs
        work = [name, str(first), str(chunks), str(self.chunk_inputs)]
        command = [sys.executable, "-m", "tests.fuzz", "--work", *work]
        where = ["--results", str(self.places.results), "--keep", str(self.places.keep)]
        return _Worker(name, first, subprocess.Popen([*command, *where]))

    def _ended(self, worker: _Worker) -> bool:
        """Whether it ended; what ended it is a finding if it was not its own doing."""
        code = worker.process.poll()
        if code:
            self._crashes[worker.name] += 1
            last = _last_path(self.places, worker.name, worker.first_seed)
            kept = last.with_suffix(".crash")
            if last.exists():
                kept.write_bytes(LastInput.read(last))
                last.unlink()
            self.places.add(
                subject=worker.name,
                first_seed=worker.first_seed,
                finding=f"exit code {code}",
                input=str(kept),
            )
        return code is not None


def table(places: Places) -> str:
    """What all runs into these results add up to, a line for each subject."""
    results: dict[str, list[Result]] = {}
    findings: Counter[str] = Counter()
    for line in places.lines():
        if "inputs" in line:
            found = Result(**{name: line[name] for name in Result._fields})
            results.setdefault(found.subject, []).append(found)
        else:
            findings[line["subject"]] += 1
    rows = [("subject", "inputs", "taken", "us each", "worst ms", "memory MiB", "findings")]
    for name in sorted({*results, *findings}):
        parts = results.get(name, [])
        inputs = sum(part.inputs for part in parts)
        rows.append(
            (
                name,
                f"{inputs:,}",
                f"{sum(part.taken for part in parts) / max(inputs, 1):.0%}",
                f"{sum(part.cpu_s for part in parts) / max(inputs, 1) * 1e6:.0f}",
                f"{max((part.worst_s for part in parts), default=0) * 1e3:.1f}",
                f"+{max((part.worst_bytes for part in parts), default=0) / (1 << 20):.1f}",
                str(findings[name]),
            )
        )
    return "\n".join(f"{row[0]:20}" + "".join(f"{cell:>13}" for cell in row[1:]) for row in rows)
