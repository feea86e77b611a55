"""Fetches source files from debuginfod servers: GET /buildid/BUILDID/source/PATH.

What came is kept in memory for a while, and what no server has is not asked for again for an hour.
Protocol: https://www.mankier.com/8/debuginfod#Webapi.
"""

import logging
import threading
import time
import urllib.error
from collections import OrderedDict
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from collector.debuginfo.http_opener import http_opener

log = logging.getLogger("fleetprof.sources")

ANSWER_S = 5.0
"""Until a server answers, or sends more: somebody waits for the page."""
FETCH_S = 10.0
ASK_AGAIN_S = 3600.0
MAX_FILE_BYTES = 4 << 20
MAX_KEPT_BYTES = 32 << 20
MAX_MISSING = 10_000
_CHUNK = 1 << 16


class Fetched(NamedTuple):
    """A file and the server that had it."""

    data: bytes
    server: str


class SourceServers:
    """Safe to use from several threads. `clock` is monotonic, in seconds."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        """`urls` as checked by collector.debuginfo.debuginfod."""
        self._urls, self._clock = [url.rstrip("/") for url in urls], clock
        self._opener = http_opener()
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Fetched] = OrderedDict()
        self._missing: dict[tuple[str, str], float] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._urls)

    def find(self, build_id: str, path: str) -> Fetched | None:
        """The file that the compiler of a build called `path`, which is absolute."""
        key = build_id, path
        if not path.startswith("/"):
            return None
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            if self._clock() - self._missing.get(key, -ASK_AGAIN_S) < ASK_AGAIN_S:
                return None
        found = next((got for url in self._urls if (got := self._fetch(url, build_id, path))), None)
        with self._lock:
            self._note(key, found)
        return found

    def _note(self, key: tuple[str, str], found: Fetched | None) -> None:
        if found is None:
            while len(self._missing) >= MAX_MISSING:
                del self._missing[next(iter(self._missing))]
            self._missing[key] = self._clock()
            return
        self._missing.pop(key, None)
        self._kept[key] = found
        while sum(len(each.data) for each in self._kept.values()) > MAX_KEPT_BYTES:
            self._kept.popitem(last=False)

    def _fetch(self, url: str, build_id: str, path: str) -> Fetched | None:
        try:
            with self._opener.open(
                f"{url}/buildid/{build_id}/source{quote(path)}", timeout=ANSWER_S
            ) as answer:
                return Fetched(self._read(answer), urlsplit(url).hostname or url)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                log.warning("%s does not give source %s: %s", url, path, error)
            error.close()
        except (OSError, HTTPException, ValueError) as error:
            log.warning("%s does not give source %s: %s", url, path, error)
        return None

    def _read(self, answer: object) -> bytes:
        """The body; ValueError where it is too much, or takes too long."""
        until_s, parts, size = self._clock() + FETCH_S, list[bytes](), 0
        while part := answer.read1(_CHUNK):  # type: ignore[attr-defined]
            parts.append(part)
            size += len(part)
            if size > MAX_FILE_BYTES:
                raise ValueError(f"it is larger than {MAX_FILE_BYTES >> 20} MiB")
            if self._clock() > until_s:
                raise ValueError(f"it takes longer than {FETCH_S:.0f} s")
        return b"".join(parts)
