"""Fetches debug files from debuginfod servers: GET /buildid/BUILDID/debuginfo.

A server upstream is asked for each build id once; what it has not is not asked for again for a day. What comes is
checked like an upload. Protocol: https://www.mankier.com/8/debuginfod#Webapi.
"""

import logging
import time
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from collector.debuginfo.http_opener import http_opener
from collector.debuginfo.intake import CHUNK_BYTES, Intake
from collector.debuginfo.origin import Origin
from collector.debuginfo.workers import is_build_id
from fleetprof.errors import InputError

log = logging.getLogger("fleetprof.debuginfo")

ANSWER_S = 10.0
"""Until a server answers, or sends more."""
FETCH_S = 900.0
"""For a whole file."""
ASK_AGAIN_S = 86400.0
MAX_MISSING = 10_000
"""Build ids that are remembered as not to be had."""


class Debuginfod:
    """Used by one thread. `clock` is monotonic, in seconds."""

    def __init__(
        self, urls: Sequence[str], intake: Intake, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises InputError for a URL that is none."""
        self._urls = [_checked(url) for url in urls]
        self._intake, self._clock = intake, clock
        self._missing: dict[str, float] = {}
        self._closed = False
        self._opener = http_opener()

    def close(self) -> None:
        """End what is being fetched, from any thread."""
        self._closed = True

    def worth_asking(self, build_id: str) -> bool:
        """Whether no server said lately that it has not this file."""
        asked_s = self._missing.get(build_id)
        return is_build_id(build_id) and (asked_s is None or self._clock() - asked_s > ASK_AGAIN_S)

    def fetch(self, build_id: str) -> bool:
        """Keep the debug file of a build, from the first server that has it; false when none has.

        Raises UnavailableError where it cannot be kept now.
        """
        for url in self._urls:
            if not self._closed and self._fetch(url, build_id):
                self._missing.pop(build_id, None)
                return True
        while len(self._missing) >= MAX_MISSING:
            del self._missing[next(iter(self._missing))]
        self._missing[build_id] = self._clock()
        return False

    def _fetch(self, url: str, build_id: str) -> bool:
        try:
            with self._opener.open(f"{url}/buildid/{build_id}/debuginfo", timeout=ANSWER_S) as answer:
                size = _size(answer)
                name = f"from {urlsplit(url).hostname}"
                kept = self._intake.take(name, size, self._parts(answer), build_id, Origin.DEBUGINFOD)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                log.warning("%s does not give debug file %s: %s", url, build_id, error)
            error.close()
        except (OSError, HTTPException, ValueError, InputError) as error:
            log.warning("%s does not give debug file %s: %s", url, build_id, error)
        else:
            log.info("Fetched debug file %s from %s (%d bytes).", build_id, url, kept.file.size)
            return True
        return False

    def _parts(self, answer: HTTPResponse) -> Iterator[bytes]:
        """What the server sends; ValueError when that takes too long."""
        until_s = self._clock() + FETCH_S
        while part := answer.read1(CHUNK_BYTES):
            yield part
            if self._closed:
                raise ValueError("the collector is stopping")
            if self._clock() > until_s:
                raise ValueError(f"it takes longer than {FETCH_S:.0f} s")


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f'debuginfod_urls: "{url}" is no http:// or https:// URL.',
            "Example: https://debuginfod.debian.net.",
        )
    return url.rstrip("/")


def _size(answer: HTTPResponse) -> int:
    """The file's size as the server says it; ValueError when it does not."""
    text = answer.headers.get("Content-Length") or answer.headers.get("X-DEBUGINFOD-SIZE")
    if text is None:
        raise ValueError("it does not say how large the file is")
    return int(text)
