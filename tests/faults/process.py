"""A child process of a scene: one of this folder's modules, with what it says in a file."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ENDS_S = 600.0
"""Longest wait for an end: on a busy machine a start alone takes a minute."""


class Process:
    """A child that is spoken to by lines."""

    def __init__(self, module: str, *arguments: str, log: Path, **environment: str) -> None:
        self._log = log.open("a")
        self.child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"PYTHONFAULTHANDLER": "1"} | environment,
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

    def end(self, number: int, seconds: float = ENDS_S) -> int:
        """Send a signal and wait for its exit code."""
        if self.alive:
            self.child.send_signal(number)
        return self.ended(seconds)

    def ended(self, seconds: float = ENDS_S) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            code = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._show_stacks()
            raise
        for stream in (self.child.stdin, self.child.stdout, self._log):
            if stream:
                stream.close()
        return code

    def _show_stacks(self) -> None:
        """End it; Python's faulthandler writes to its log what its threads did."""
        self.child.send_signal(signal.SIGABRT)
