"""Which functions and lines are at offsets of a program's file, by its kept debug file."""

from collections.abc import Sequence
from typing import IO

from collector.debuginfo.files import DEBUG, SYMCACHE, DebugFile, DebugFiles
from collector.debuginfo.jobs import MAX_ADDRESSES
from collector.debuginfo.workers import Function, Workers


class LookUps:
    """Safe to use from several threads."""

    def __init__(self, files: DebugFiles, workers: Workers) -> None:
        self.files, self._workers = files, workers

    def functions(self, file: DebugFile, offsets: Sequence[int]) -> list[list[Function]] | None:
        """The functions at each offset, innermost first, none where there is no code; None without the file.

        Raises WorkerFailed where the file cannot be used, and UnavailableError.
        """
        places = [file.address(offset) for offset in offsets]
        addresses = sorted({place for place in places if place is not None})
        cache = self._symcache(file)
        if cache is None:
            return None
        found: dict[int, list[Function]] = {}
        with cache:
            for start in range(0, len(addresses), MAX_ADDRESSES):
                part = addresses[start : start + MAX_ADDRESSES]
                found.update(zip(part, self._workers.look_up(cache, part), strict=True))
        return [[] if place is None else found[place] for place in places]

    def _symcache(self, file: DebugFile) -> IO[bytes] | None:
        """What look-ups need, made once; None without the file."""
        if kept := self.files.open(file, SYMCACHE):
            return kept
        debug = self.files.open(file, DEBUG)
        if debug is None:
            return None
        with debug, self.files.incoming() as made:
            self._workers.convert(debug, made)
            self.files.keep_symcache(made, file)
        return self.files.open(file, SYMCACHE)
