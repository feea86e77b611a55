"""Takes a debug file, wherever it comes from: checks what it is, and keeps it."""

import os
from collections.abc import Iterable
from pathlib import PurePath
from typing import IO

from collector.debuginfo.files import DebugFiles, Kept
from collector.debuginfo.origin import Origin
from collector.debuginfo.workers import WorkerFailed, Workers, is_build_id
from fleetprof.demangle import shorten
from fleetprof.errors import InputError

MAX_FILE_BYTES = 4 << 30
CHUNK_BYTES = 1 << 20
_MAX_NAME = 255


class Intake:
    """Where all files come in. Safe to use from several threads."""

    def __init__(self, files: DebugFiles, workers: Workers) -> None:
        self.files, self._workers = files, workers

    @property
    def limit_bytes(self) -> int:
        """The largest file that can be kept; 0 where none is."""
        return min(MAX_FILE_BYTES, self.files.limit_bytes)

    def take(
        self,
        name: str,
        size: int,
        parts: Iterable[bytes],
        build_id: str = "",
        origin: Origin = Origin.COMMAND,
    ) -> Kept:
        """Keep the file of `size` bytes that `parts` make, whose build id is `build_id` ("": any).

        Raises InputError for what is no such file or too large, UnavailableError where later may do.
        """
        self._check_claims(size, build_id)
        with self.files.incoming(size) as incoming:
            taken = 0
            for part in parts:
                taken += len(part)
                if taken > size:
                    break
                incoming.write(part)
            if taken != size:
                raise InputError(f"The file was to have {size} bytes and has others.", "Send it again.")
            return self.keep(incoming, name, build_id, origin)

    def keep(
        self,
        incoming: IO[bytes],
        name: str,
        build_id: str = "",
        origin: Origin = Origin.COMMAND,
        sender: str = "",
    ) -> Kept:
        """Keep a file of `self.files.incoming` that is whole; the rest, and what is raised, as `take`.

        `sender`: the host of the agent that sent it.
        """
        incoming.flush()
        os.lseek(incoming.fileno(), 0, os.SEEK_SET)
        try:
            found = self._workers.inspect(incoming)
        except WorkerFailed as failed:
            raise InputError(str(failed), "Upload an ELF file with debug information.") from failed
        if build_id and found.build_id != build_id:
            raise InputError(
                f"The file's build id is {found.build_id}, not {build_id}.",
                "Upload the file of that build.",
            )
        if not (found.lines or found.symbols):
            raise InputError(
                "The file has neither debug information nor symbols.",
                "Upload the file as it was before `strip`, or its separate debug file.",
            )
        return self.files.keep(incoming, found, plain_name(name), origin, sender)

    def _check_claims(self, size: int, build_id: str) -> None:
        limit = self.limit_bytes
        if not limit:
            raise InputError("This collector keeps no debug files.", "Raise its setting debuginfo_size.")
        if not 0 < size <= limit:
            raise InputError(
                f"A debug file of {size} bytes cannot be kept; the limit is {limit}.",
                "Compress its sections (objcopy --compress-debug-sections), or raise debuginfo_size.",
            )
        if build_id and not is_build_id(build_id):
            raise InputError(f'"{shorten(build_id)[:_MAX_NAME]}" is no build id.', "See `readelf -n FILE`.")


def plain_name(path: str) -> str:
    """A file's name for people, without its folders."""
    return shorten(PurePath(path).name)[:_MAX_NAME]
