"""Keeps a process's list of executable mappings true as new ones are laid over old ones."""

from bisect import bisect_left
from dataclasses import replace

from agent.process import Mapping

MAX_MAPPINGS = 8192
"""Of one process; a JIT that maps without end is cut here (1.5 MB)."""


def is_anonymous(mapping: Mapping) -> bool:
    """Whether no file is behind it: memory of a JIT."""
    return not mapping.path or mapping.path.startswith(("//anon", "[anon"))


def overlay(mappings: list[Mapping], new: Mapping) -> list[Mapping]:
    """`mappings` (sorted, not overlapping) after mmap put `new` over them: what it covers is cut away.

    The given list is returned when nothing changes, else a new one: readers hold on to the old. Adjacent
    anonymous mappings are joined, as the kernel joins them. A new one past MAX_MAPPINGS is left out.
    """
    first = bisect_left(mappings, new.start_addr + 1, key=lambda mapping: mapping.end_addr)
    last = first
    while last < len(mappings) and mappings[last].start_addr < new.end_addr:
        last += 1
    covered = mappings[first:last]
    if covered == [new]:
        return mappings
    if covered and is_anonymous(new) and _contains(covered[0], new):
        return mappings
    kept = [part for old in covered for part in _outside(old, new)]
    if not covered and len(mappings) >= MAX_MAPPINGS:
        return mappings
    middle = sorted([*kept, new], key=lambda mapping: mapping.start_addr)
    if is_anonymous(new):
        first, last, middle = _join(mappings, first, last, middle)
    return [*mappings[:first], *middle, *mappings[last:]]


def _contains(old: Mapping, new: Mapping) -> bool:
    return is_anonymous(old) and old.start_addr <= new.start_addr and new.end_addr <= old.end_addr


def _outside(old: Mapping, new: Mapping) -> list[Mapping]:
    """What is left of `old` on both sides of `new`."""
    parts = []
    if old.start_addr < new.start_addr:
        parts.append(replace(old, end_addr=new.start_addr))
    if old.end_addr > new.end_addr:
        offset = old.file_offset + new.end_addr - old.start_addr
        parts.append(replace(old, start_addr=new.end_addr, file_offset=offset))
    return parts


def _join(
    mappings: list[Mapping], first: int, last: int, middle: list[Mapping]
) -> tuple[int, int, list[Mapping]]:
    """Join anonymous neighbours: `middle` is about to replace mappings[first:last]."""
    if first and _touch(mappings[first - 1], middle[0]):
        first -= 1
        middle = [mappings[first], *middle]
    if last < len(mappings) and _touch(middle[-1], mappings[last]):
        middle = [*middle, mappings[last]]
        last += 1
    joined = [middle[0]]
    for mapping in middle[1:]:
        if _touch(joined[-1], mapping):
            joined[-1] = replace(joined[-1], end_addr=mapping.end_addr)
        else:
            joined.append(mapping)
    return first, last, joined


def _touch(left: Mapping, right: Mapping) -> bool:
    return left.end_addr == right.start_addr and is_anonymous(left) and is_anonymous(right)
