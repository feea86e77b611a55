"""Keeps the last few answers of slow questions, so that zooming and downloads do not ask the store again."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

KEPT = 4
KEPT_S = 30.0

Question = TypeVar("Question", bound=Hashable)
Kept = TypeVar("Kept")


@dataclass(slots=True)
class _Entry(Generic[Kept]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: Kept | None = None
    loaded_at: float = 0.0


class RecentAnswers(Generic[Question, Kept]):
    """The last few answers. Equal questions at the same time are asked once.

    An answer is kept for 30 s: late windows change it.
    """

    def __init__(self, load: Callable[[Question], Kept], clock: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[Question, _Entry[Kept]] = OrderedDict()

    def get(self, question: Question) -> Kept:
        """The answer to `question`, loaded now or up to 30 s ago."""
        with self._lock:
            entry = self._entries.setdefault(question, _Entry())
            self._entries.move_to_end(question)
            while len(self._entries) > KEPT:
                self._entries.popitem(last=False)
        with entry.lock:
            if entry.answer is None or self._clock() - entry.loaded_at > KEPT_S:
                entry.answer = self._load(question)
                entry.loaded_at = self._clock()
            return entry.answer
