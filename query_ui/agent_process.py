"""Runs the agent of this host as a child process beside the collector and the UI.

The agent is a process of its own, as on every other host: it has its own memory, its own limits and its
own end. It dies with its parent (agent/parent.py) and is started again when it ends by itself, with growing
pauses.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
STOP_S = 15.0
EXIT_CANNOT_START = (2, 3)
"""Exit codes of fleetprof.errors: starting again would only say the same again."""


class AgentProcess:
    """The child and the thread that watches it. `say` prints one line for people; `token` is the agent's."""

    def __init__(
        self, collector_address: str, state_dir: Path, say: Callable[[str], None], token: str = ""
    ) -> None:
        self._command = [sys.executable, "-m", "agent", "run", "--collector", collector_address]
        self._command += ["--state-dir", str(state_dir), "--die-with-parent"]
        # The environment's FLEETPROF_TLS_… and FLEETPROF_METRICS_LISTEN are the collector's, not the agent's.
        for flag in ("--tls-ca", "--tls-certificate", "--tls-key", "--metrics-listen", "--token-file"):
            self._command += [flag, ""]
        self._token = token
        self._say = say
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self.gave_up = threading.Event()
        """Set when the agent cannot run on this host at all."""
        self._thread = threading.Thread(target=self._watch, name="agent", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            self._child = self._start()
            code = self._child.wait()
            if self._stopping.is_set():
                return
            if code in EXIT_CANNOT_START:
                self.gave_up.set()
                return
            self._say(f"The agent ended ({_ending(code)}); starting it again in {pause_s:.0f} s.")
            self._stopping.wait(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches only the parent, which ends the agent while its collector still
        # takes the last window.
        return subprocess.Popen(
            self._command,
            start_new_session=True,
            # Not as a flag: anyone may read a process's command line.
            env={**os.environ, "PYTHONUNBUFFERED": "1", "FLEETPROF_TOKEN": self._token},
        )

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self._child and self._child.poll() is None else None

    def stop(self) -> None:
        """Ask the agent to close and send its last window, and wait until it has."""
        self._stopping.set()
        child = self._child
        if child and child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                self._say(f"The agent did not end within {STOP_S:.0f} s and was killed.")
        self._thread.join()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
