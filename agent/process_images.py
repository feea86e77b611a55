"""Process images by pid and time: what a pid ran when, also after it has ended.

An image begins with a fork or an exec and ends with the next exec or the exit of the process. Most images
are never sampled, so one costs little until it is asked for: mappings stay raw records, and a forked process
only points to the image it was copied from.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from agent.perf_records import mmap2_of
from agent.process import Mapping, Process
from agent.process_mappings import overlay
from agent.process_reader import device_of

KEEP_NS = 30_000_000_000
"""How long an ended image stays findable: two windows, and the time to look at them."""
MAX_RAW_RECORDS = 256
"""Mappings of an image that are kept raw, 150 bytes each; past it they are merged."""


class Origin(Enum):
    """How an image came to be."""

    SEEN = 0
    """It ran before the table did, or events about it were lost: /proc alone knows it."""
    FORKED = 1
    EXECED = 2


@dataclass(slots=True, eq=False)
class Image:
    """One image of one process; see the module's text. Times are CLOCK_MONOTONIC, 0 for not known."""

    pid: int
    start_ns: int
    origin: Origin
    comm: str = ""
    parent_pid: int = 0
    copied_from: "Image | None" = None
    """The parent's image, of a FORKED one."""
    copies: int = 0
    """Length of the chain of images behind copied_from."""
    end_ns: int = 0
    cgroup: str = ""
    """That of the image before, of an EXECED one: where it cannot be read any more."""
    records: list[bytes] = field(default_factory=list)
    """MMAP2 records not yet merged into `mappings`."""
    mappings: list[Mapping] = field(default_factory=list)
    process: Process | None = None
    """Made when it was read from /proc or first found."""
    gone: bool = False
    """It ended before anything could be read."""
    found: bool = False
    """It was asked for, so its process is worth keeping."""
    complete: bool = False
    """Whether nothing is left to read from /proc: an EXECED one is told before its exec has ended."""
    checked_ns: int = 0
    """When it was last compared with /proc."""

    def settle(self) -> None:
        """Merge the raw records into `mappings`, and show them in `process`."""
        for data in self.records:
            self.mappings = overlay(self.mappings, mapping_of(data))
        self.records.clear()
        if self.process is not None and self.process.mappings is not self.mappings:
            self.process.mappings = self.mappings


def mapping_of(data: bytes) -> Mapping:
    """The mapping that an MMAP2 record tells of."""
    new = mmap2_of(data)
    path = "" if new.path == "//anon" else new.path
    device = device_of(new.major, new.minor, new.inode)
    end = min(new.addr + new.length, 2**64 - 1)
    return Mapping(new.addr, end, new.file_offset, path, device, new.inode)


class Images:
    """All images, at most `limit`. When it is reached the longest ended go first, then live ones that were
    never asked for (they can be read again), and then new ones are refused."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._by_pid: dict[int, list[Image]] = {}
        self._ended: deque[Image] = deque()
        self._count = 0
        self._full = False

    def __len__(self) -> int:
        return self._count

    def current(self, pid: int) -> Image | None:
        """The latest image of `pid`, ended or not."""
        images = self._by_pid.get(pid)
        return images[-1] if images else None

    def at(self, pid: int, time_ns: int) -> Image | None:
        """The image of `pid` at that time; the latest for time 0."""
        images = self._by_pid.get(pid, ())
        if not time_ns:
            return images[-1] if images else None
        return next((image for image in reversed(images) if image.start_ns <= time_ns), None)

    def before(self, image: Image) -> Image | None:
        """The image that the pid ran before this one."""
        images = self._by_pid.get(image.pid, [])
        index = images.index(image) if image in images else 0
        return images[index - 1] if index else None

    def add(self, image: Image) -> bool:
        """Take in the latest image of its pid, which ends the one before; False when there is no room."""
        if self._count >= self.limit and not self._make_room():
            return False
        images = self._by_pid.setdefault(image.pid, [])
        if images:
            self.end(images[-1], image.start_ns)
        images.append(image)
        self._count += 1
        if image.end_ns:
            self._ended.append(image)
        return True

    def end(self, image: Image, time_ns: int) -> None:
        """Mark an image as ended, if it is not yet."""
        if not image.end_ns:
            image.end_ns = max(time_ns, 1)
            self._ended.append(image)

    def expire(self, now_ns: int, is_alive: Callable[[Image], bool]) -> None:
        """Drop what ended more than KEEP_NS before `now_ns`.

        The main thread of a process may end long before the others: `is_alive` is asked for images that were
        found, and those it confirms stay for another while.
        """
        self._full = False
        while self._ended and self._ended[0].end_ns <= now_ns - KEEP_NS:
            image = self._ended.popleft()
            if image.found and self.current(image.pid) is image and is_alive(image):
                image.end_ns = now_ns
                self._ended.append(image)
            else:
                self._drop(image)

    def end_missing(self, alive: Iterable[int], now_ns: int) -> None:
        """End the images of all pids that are not in `alive`: after exits were lost."""
        known = set(alive)
        for pid, images in self._by_pid.items():
            if pid not in known:
                self.end(images[-1], now_ns)

    def _drop(self, image: Image) -> None:
        images = self._by_pid.get(image.pid, [])
        if image in images:
            images.remove(image)
            self._count -= 1
            if not images:
                del self._by_pid[image.pid]

    def _make_room(self) -> bool:
        if self._ended:
            self._drop(self._ended.popleft())
            return True
        if self._full:
            return False
        # Looking at all of them takes some milliseconds, so once between two calls of `expire`, and for many.
        idle = [image for images in self._by_pid.values() for image in images if not image.found]
        for image in idle[: max(self.limit // 8, 1)]:
            self._drop(image)
        self._full = not idle
        return bool(idle)
