"""One process per data folder: an advisory lock that also tells who holds it."""

import fcntl
import os
import threading
import uuid
from pathlib import Path

from fleetprof.errors import UnavailableError

_NAME = "fleetprof.lock"
_ID = "collector-id"
_POLL_S = 0.5


class FolderLock:
    """Holds `folder` for this process until `release` or the process ends, kill -9 included.

    Embedded ClickHouse would refuse the second process too, but says only "Error initializing
    EmbeddedServer".
    """

    def __init__(self, folder: Path, wait: bool = False, stopping: threading.Event | None = None) -> None:
        """Create the folder if need be and lock it; raises UnavailableError when that is not possible.

        With `wait` until its holder is gone, or `stopping` is set (UnavailableError).
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UnavailableError(
                f"Cannot use the data folder {folder}: {error.strerror}.",
                "Choose another one (--data, FLEETPROF_DATA) or give this user the right to write there.",
            ) from error
        while not self._try():
            if wait and not (stopping or threading.Event()).wait(_POLL_S):
                continue
            holder = os.read(self._file, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise UnavailableError(
                f"The data folder {folder} is in use by process {holder}.",
                "Stop that process, or choose another folder (--data, FLEETPROF_DATA).",
            )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Let others use the folder; more calls do nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def collector_id(folder: Path) -> str:
    """The name of the collector whose data folder this is, the same after each restart; made at the first."""
    path = folder / _ID
    try:
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_text(uuid.uuid4().hex)
            part.rename(path)
        return path.read_text("utf-8")
    except OSError as error:
        raise UnavailableError(
            f"Cannot write to the data folder {folder}: {error.strerror}.",
            "Choose another one (--data, FLEETPROF_DATA) or give this user the right to write there.",
        ) from error
