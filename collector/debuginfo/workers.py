"""Runs `worker.py`: one process a job, killed when it takes too long, and its answers checked like any input."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from collector.debuginfo.jobs import MAX_ANSWER_BYTES, MAX_INLINED, NOT_CONFINED
from collector.debuginfo.segments import Segment
from fleetprof.demangle import shorten
from fleetprof.errors import UnavailableError
from fleetprof.frames import FrameKind

log = logging.getLogger("fleetprof.debuginfo")

_MAX_ID_DIGITS = 128
_MIN_ID_DIGITS = 8
_KINDS = {int(kind): kind for kind in FrameKind}
_STDERR_SHOWN = 500
_NOT_INSTALLED = re.compile(r"^(ModuleNotFound|Import)Error:|No module named", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one job may take."""

    memory_bytes: int = 1 << 30
    cpu_s: int = 300
    wall_s: int = 900


class WorkerFailed(Exception):
    """The file is damaged or too much for the limits; the message says so in a sentence."""


class Inspection(NamedTuple):
    """What a file is. `base`: the address of the image's start."""

    build_id: str
    lines: bool
    symbols: bool
    segments: list[Segment]
    base: int


class Function(NamedTuple):
    """A function at an address. `line` runs there; the function begins at `start_line` (0: not known)."""

    name: str
    kind: FrameKind
    file: str
    line: int
    start_line: int


class Workers:
    """Starts workers, at most two at a time. Safe to use from several threads."""

    def __init__(self, limits: WorkerLimits | None = None) -> None:
        self._limits = limits or WorkerLimits()
        self._places = threading.Semaphore(2)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def inspect(self, file: IO[bytes]) -> Inspection:
        """What `file` is; raises WorkerFailed where it cannot be used, UnavailableError where none can."""
        answer = self._run("inspect", file)
        try:
            found = Inspection(
                str(answer["build_id"]).lower(),
                bool(answer["lines"]),
                bool(answer["symbols"]),
                [Segment(*map(_offset, row)) for row in answer["segments"]],
                _offset(answer["base"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WorkerFailed("The file is damaged: it makes no sense.") from error
        if not found.build_id:
            raise WorkerFailed("The file has no build id: link it with --build-id.")
        if not is_build_id(found.build_id):
            raise WorkerFailed("The file's build id is no build id.")
        return found

    def convert(self, file: IO[bytes], output: IO[bytes]) -> None:
        """Write what look-ups need of a debug file to `output`; raises as `inspect`."""
        self._run("convert", file, output)

    def look_up(self, cache: IO[bytes], addresses: list[int]) -> list[list[Function]]:
        """The functions at each address (distance from the image's start; at most MAX_ADDRESSES), innermost
        first; raises as `inspect`. `cache` is what `convert` wrote."""
        answer = self._run("look_up", cache, addresses=addresses)
        try:
            texts = [shorten(_text(text)) for text in answer["texts"]]
            found = [[_function(row, texts) for row in rows] for rows in answer["found"]]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise WorkerFailed("The file is damaged: its names make no sense.") from error
        if len(found) != len(addresses) or any(len(rows) > MAX_INLINED for rows in found):
            raise WorkerFailed("The file is damaged: its names make no sense.")
        return found

    def close(self) -> None:
        """Kill what runs; nothing starts after it."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()

    def _run(self, job: str, file: IO[bytes], output: IO[bytes] | None = None, **more: Any) -> dict[str, Any]:
        with open(
            f"/proc/self/fd/{file.fileno()}", "rb", buffering=0
        ) as readable:  # it may be open for writing
            return self._run_on(job, readable.fileno(), output, more)

    def _run_on(self, job: str, file: int, output: IO[bytes] | None, more: dict[str, Any]) -> dict[str, Any]:
        request = {
            "job": job,
            "file": file,
            "output": output.fileno() if output else -1,
            "memory_bytes": self._limits.memory_bytes,
            "cpu_s": self._limits.cpu_s,
            "written_bytes": self._limits.memory_bytes if output else MAX_ANSWER_BYTES,
            **more,
        }
        passed = [file, *([output.fileno()] if output else [])]
        with self._places, tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
            code = self._wait(self._start(passed, told, errors), json.dumps(request).encode("ascii"))
            if code:
                raise self._failure(code, errors)
            told.seek(0)
            data = told.read(MAX_ANSWER_BYTES + 1)
        return _answer(data)

    def _start(self, passed: list[int], told: IO[bytes], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
        """It imports what this process can import, and sees no other part of the environment."""
        with self._lock:
            if self._closed:
                raise UnavailableError("The collector is stopping.", "Try again when it runs.")
            process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "collector.debuginfo.worker"],
                stdin=subprocess.PIPE, stdout=told, stderr=errors, pass_fds=passed, cwd="/",
                env={"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path)},
            )  # fmt: skip
            self._running.add(process)
        return process

    def _wait(self, process: "subprocess.Popen[bytes]", request: bytes) -> int:
        """The exit code; negative for a signal, 1 for a worker that had to be killed."""
        try:
            process.communicate(request, timeout=self._limits.wall_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return -signal.SIGALRM
        finally:
            with self._lock:
                self._running.discard(process)
        return process.returncode

    def _failure(self, code: int, errors: IO[bytes]) -> Exception:
        errors.seek(0)
        said = errors.read(MAX_ANSWER_BYTES)[-_STDERR_SHOWN:].decode("utf-8", "replace").strip()
        limits = self._limits
        if self._closed:
            return UnavailableError("The collector is stopping.", "Try again when it runs.")
        if code == NOT_CONFINED:
            return UnavailableError(
                f"Debug information cannot be read safely here: {said}.",
                "A kernel with seccomp filters is needed, on x86-64 or arm64.",
            )
        if code > 0 and _NOT_INSTALLED.search(said):
            return UnavailableError(
                f"Debug information cannot be read: {said.splitlines()[-1]}.",
                "Install fleetprof[collector] again.",
            )
        if code == -signal.SIGABRT or "MemoryError" in said:
            return WorkerFailed(
                f"The file needs more than {limits.memory_bytes >> 20} MiB of memory (debuginfo_memory)."
            )
        if code in (-signal.SIGKILL, -signal.SIGXCPU):
            return WorkerFailed(f"The file takes more than {limits.cpu_s} s of CPU time.")
        if code == -signal.SIGALRM:
            return WorkerFailed(f"The file takes longer than {limits.wall_s} s.")
        log.warning("A worker for debug information ended with %d: %s", code, said)
        return WorkerFailed("The file is damaged: it ended the process that read it.")


def is_build_id(text: str) -> bool:
    """Whether `text` is lower-case hex, 8 to 128 digits."""
    return _MIN_ID_DIGITS <= len(text) <= _MAX_ID_DIGITS and not text.strip("0123456789abcdef")


def _answer(data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data) if len(data) <= MAX_ANSWER_BYTES else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise WorkerFailed("The file is damaged: it makes no sense.")
    if problem := answer.get("problem"):
        text = shorten(str(problem).partition("\n")[0])
        raise WorkerFailed(f"The file cannot be read: {text}.")
    return answer


def _function(row: list[Any], texts: list[str]) -> Function:
    name, kind, file, line, start_line = map(_offset, row)
    return Function(texts[name], _KINDS[kind], texts[file], line & 0xFFFFFFFF, start_line & 0xFFFFFFFF)


def _offset(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ValueError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
