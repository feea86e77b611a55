"""Finding, trusting and keeping the perf maps of processes."""

import os
import stat
from collections import OrderedDict

from agent.process import Process
from agent.symbolize.debug_files import open_in_root
from agent.symbolize.perf_map import PerfMap

ImageKey = tuple[int, int]


class PerfMaps:
    """The perf map of each process image, least recently used ones forgotten past `limit_bytes`."""

    def __init__(self, limit_bytes: int, proc: str = "/proc") -> None:
        self._limit = limit_bytes
        self._proc = proc
        self._maps: OrderedDict[ImageKey, PerfMap] = OrderedDict()
        self._births: dict[ImageKey, int] = {}
        self._forgotten_bad_lines = 0

    @property
    def bad_lines(self) -> int:
        """Lines in all maps so far that could not be understood and were skipped."""
        return self._forgotten_bad_lines + sum(known.bad_lines for known in self._maps.values())

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return sum(known.nbytes for known in self._maps.values())

    def get(self, process: Process) -> PerfMap | None:
        """The map of `process` up to now, or as far as it was read while it lived; None without one."""
        key = (process.pid, process.start_ns)
        known = self._maps.get(key)
        if self._is_same(key):
            known = self._refreshed(process, known)
        if known is None:
            return None
        self._maps[key] = known
        self._maps.move_to_end(key)
        while len(self._maps) > 1 and self.nbytes > self._limit:
            old_key, old = self._maps.popitem(last=False)
            self._births.pop(old_key, None)
            self._forgotten_bad_lines += old.bad_lines
        return known

    def _is_same(self, key: ImageKey) -> bool:
        """Whether /proc/PID is still the process first seen under this key, not a later one of its number."""
        birth = _birth_ticks(f"{self._proc}/{key[0]}/stat")
        if len(self._births) > 4096:
            self._births = {known: self._births[known] for known in self._maps if known in self._births}
        return birth >= 0 and self._births.setdefault(key, birth) == birth

    def _refreshed(self, process: Process, known: PerfMap | None) -> PerfMap | None:
        try:
            fd = self._open(process)
        except (OSError, ValueError):
            return known
        try:
            known = known or PerfMap()
            known.update(fd)
        except OSError:
            return known
        finally:
            os.close(fd)
        return known

    def _open(self, process: Process) -> int:
        """Open the map as the process sees it. As perf does, believe only its owner and root; and no link, by which
        a process would have root's files read out."""
        path = f"/tmp/perf-{process.namespace_pid}.map"
        fd = open_in_root(f"{self._proc}/{process.pid}/root", path, may_be_link=False)
        status = os.fstat(fd)
        owners = (0, _effective_uid(f"{self._proc}/{process.pid}/status"))
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners:
            os.close(fd)
            raise PermissionError(path)
        return fd


def _birth_ticks(path: str) -> int:
    """Start time of a process in clock ticks since boot, -1 when it is gone."""
    try:
        with open(path, "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return -1


def _effective_uid(path: str) -> int:
    """The effective user id of a process; raises OSError, or ValueError when the text has none."""
    with open(path, "rb") as file:
        for line in file:
            if line.startswith(b"Uid:"):
                return int(line.split()[2])
    raise ValueError(path)
