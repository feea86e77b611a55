"""Builds and starts the programs of this folder.

Each spins for SECONDS (its argument) in nested named functions, and prints "ready" when it is in full swing;
native ones first print the address of each function.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent


def tool(name: str) -> str:
    """The path of a compiler or runtime; skips the test when it is not installed."""
    beside_python = Path(sys.executable).parent / name
    found = str(beside_python) if beside_python.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed here")
    return found


def build(name: str, folder: Path, *flags: str) -> list[str]:
    """Build `c`, `cpp`, `rust`, `go`, `node` or `java` into `folder`; the command to run it, less SECONDS.

    `flags` go to the compiler (for node and java to the runtime). All keep frame pointers.
    """
    out = folder / f"names_{name}"
    if name == "node":
        return [
            tool("node"),
            "--perf-basic-prof",
            "--no-logfile-per-isolate",
            f"--logfile={folder}/v8.log",
            "--interpreted-frames-native-stack",
            *flags,
            _source("node.js"),
        ]
    if name == "java":
        _compile([tool("javac"), "-d", str(folder), str(SOURCES / "NamesJava.java")])
        return [tool("java"), "-XX:+PreserveFramePointer", *flags, "-cp", str(folder), "NamesJava"]
    keep = "-fno-omit-frame-pointer"
    commands = {
        "c": lambda: [tool("gcc"), "-O1", keep, *flags, "-o", str(out), _source("c.c")],
        "cpp": lambda: [tool("g++"), "-O1", keep, *flags, "-o", str(out), _source("cpp.cc")],
        "rust": lambda: [
            *(tool("rustc"), "-C", "opt-level=1", "-C", "force-frame-pointers=yes", *flags),
            *("-o", str(out), _source("rust.rs")),
        ],
        "go": lambda: [tool("go"), "build", *flags, "-o", str(out), "."],
    }
    _compile(commands[name](), SOURCES / "names_go" if name == "go" else folder)
    return [str(out)]


def _source(ending: str) -> str:
    return str(SOURCES / f"names_{ending}")


def _compile(command: list[str], folder: Path | None = None) -> None:
    environment = {"GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local", **os.environ}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


@dataclass(frozen=True, slots=True)
class Running:
    """A workload that is ready, and the addresses of its functions as it printed them."""

    pid: int
    addrs: dict[str, int]


@contextmanager
def running(command: list[str], seconds: int = 60, prefix: tuple[str, ...] = ()) -> Iterator[Running]:
    """Run a built workload until the block ends, at most `seconds`. `pid` is of the first command given."""
    started = subprocess.Popen([*prefix, *command, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert started.stdout
    try:
        addrs = {}
        for line in started.stdout:
            if line == "ready\n":
                break
            name, _, addr = line.strip().partition(" ")
            if addr:  # V8 writes its log here where it cannot write its file
                addrs[name] = int(addr, 16)
        else:
            pytest.fail(f"{command} ended before it was ready")
        yield Running(started.pid, addrs)
    finally:
        started.kill()
        started.wait()
        started.stdout.close()
