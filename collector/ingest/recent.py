"""A bounded mapping that keeps what was used recently."""

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Two generations: what is used moves to the young one; when that is full the old one is dropped.

    Holds at most `capacity` of weight (`weigh` of each value; 1 each without), and at least what was used
    within the last half of it. Cheaper than ordering every hit: a lookup is one dict access. Values are never
    false, as None or an empty tuple would be. Not thread-safe.
    """

    def __init__(self, capacity: int, weigh: Callable[[V], int] = lambda value: 1) -> None:
        self._half = max(capacity // 2, 1)
        self._weigh = weigh
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._weight = 0

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def get(self, key: K) -> V | None:
        """The value, or None."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def get_all(self, keys: Collection[K]) -> list[V | None]:
        """The value of each key, or None."""
        found = list(map(self._young.get, keys))
        if all(found):
            return found
        return [known or self.get(key) for key, known in zip(keys, found, strict=True)]

    def put(self, key: K, value: V) -> None:
        """Keep `value`, in place of an earlier one."""
        if (earlier := self._young.get(key)) is not None:
            self._weight -= self._weigh(earlier)
        elif self._weight >= self._half:
            self._old, self._young, self._weight = self._young, {}, 0
        self._young[key] = value
        self._weight += self._weigh(value)
