"""Runs parts of the product as a user does: real commands, real ports, a data folder of their own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 150) -> Any:
    """The first true value of `condition`; fails after `seconds`, saying `what` did not happen.

    Conditions are asked ever more rarely, as each may cost the product a query.
    """
    began = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(min(0.05 + waited / 10, 0.5))
    return value


class Command:
    """A running command whose standard error is gathered line by line; `network` is a namespace to enter."""

    def __init__(self, *arguments: str | Path, network: str = "", **environment: str) -> None:
        enter = ["nsenter", f"--net=/run/netns/{network}"] if network else []
        self.process = subprocess.Popen(
            [*enter, BIN / arguments[0], *arguments[1:]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.lines.extend(self.process.stderr)

    @property
    def said(self) -> str:
        """All of its standard error so far."""
        return "".join(self.lines)

    def wait_to_say(self, text: str, seconds: float = 150) -> None:
        """Wait until it has written `text`."""
        try:
            wait_until(lambda: text in self.said or self.process.poll() is not None, repr(text), seconds)
        finally:
            assert text in self.said, f"expected {text!r} in:\n{self.said}"

    def end(self, number: int = signal.SIGINT, seconds: float = 40) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Up(Command):
    """`fleetprof up` on free ports."""

    def __init__(self, data: Path, *more: str) -> None:
        self.http, self.grpc, self.data = free_port(), free_port(), data
        super().__init__(
            "fleetprof",
            "up",
            *more,
            FLEETPROF_HTTP=f"127.0.0.1:{self.http}",
            FLEETPROF_GRPC=f"127.0.0.1:{self.grpc}",
            FLEETPROF_DATA=str(data),
        )

    @property
    def url(self) -> str:
        """Where its pages are."""
        return f"http://127.0.0.1:{self.http}"

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON of an API route; None while it does not answer."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            return None

    def agent_pid(self) -> int:
        """The agent's process id; 0 while there is none."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for text in children for pid in text.read_text().split()]
        return next((pid for pid in pids if b"agent" in Path(f"/proc/{pid}/cmdline").read_bytes()), 0)


@contextlib.contextmanager
def up(data: Path, *more: str) -> Iterator[Up]:
    """`fleetprof up` until the block ends."""
    running = Up(data, *more)
    try:
        yield running
    finally:
        running.kill()


def top_names(running: Up, selector: str) -> list[str]:
    """Functions of the last 10 minutes with the most CPU time of their own, by the API."""
    answer = running.get("top", query=selector, **{"from": "now-10m"})
    return [row["name"] for row in answer["rows"]] if answer else []
