"""`fleetprof-collector restore`, ended by SIGKILL before a step of its work.

    python -m tests.store.killed_restore STEP N ARGUMENTS…

The N-th step that begins with STEP: "execute" (a statement of the schema), "insert TABLE", "rename FILE" (one of
the data folder comes into its place), "unlink FILE".
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collector.cli import main
from collector.store.chdb import ChdbStore
from collector.store.server import ServerStore


class Killer:
    """Ends the process before the step."""

    def __init__(self, step: str, left: int) -> None:
        self._step, self._left = step, left

    def __call__(self, step: str) -> None:
        if step.startswith(self._step):
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, method: str, name: Callable[..., str], killer: Killer) -> None:
    """Tell the killer of each call, by its name."""
    original = getattr(owner, method)

    def told(self: Any, *arguments: Any, **more: Any) -> Any:
        killer(name(self, *arguments))
        return original(self, *arguments, **more)

    setattr(owner, method, told)


if __name__ == "__main__":
    killer = Killer(sys.argv[1], int(sys.argv[2]))
    for kind in (ChdbStore, ServerStore):
        before(kind, "execute", lambda *_: "execute", killer)
        before(kind, "insert", lambda _, table, *rest: f"insert {table}", killer)
    for method in ("rename", "unlink"):
        before(Path, method, lambda path, *_, method=method: f"{method} {path.name}", killer)
    sys.exit(main(["restore", *sys.argv[3:]]))
