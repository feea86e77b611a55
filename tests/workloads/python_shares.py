"""Python functions with known shares of CPU time, for CPython 3.9 and newer: `python_shares.py shares|…`.

Half of the time goes to `half`; three tenths to `Box.third`, which the interpreter's C code calls back; a fifth to
`fifth`, a generator that C code reads. It prints "ready" and runs until it is killed.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

STEP_NS = 2_000_000


def burn(part: int) -> None:
    """Use CPU time of this thread."""
    end = time.thread_time_ns() + part * STEP_NS
    while time.thread_time_ns() < end:
        for _ in range(300):
            pass


def half() -> None:
    burn(5)


class Box:
    """Its method is called back by a sort."""

    def third(self, value: int) -> int:
        burn(3)
        return value


def fifth() -> Iterator[int]:
    burn(2)
    yield 1


def shares() -> None:
    half()
    sorted([1], key=Box().third)
    sum(fifth())


async def inner() -> int:
    burn(1)
    return 1


async def outer() -> int:
    return await inner()


def coroutines() -> None:
    try:
        outer().send(None)
    except StopIteration:
        pass


def compare(one: Any, other: Any) -> int:
    burn(1)
    return int(one[0] - other[0])


def callbacks() -> None:
    """A C library calls back: its frames are between the Python ones."""
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    ctypes.CDLL(None).qsort((ctypes.c_int * 2)(2, 1), 2, 4, kind(compare))


def leaf() -> int:
    burn(1)
    return 0


def blind() -> None:
    """A library that nobody can walk through, $LIBRARY, calls back."""
    ctypes.CDLL(os.environ["LIBRARY"]).call_back(ctypes.CFUNCTYPE(ctypes.c_int)(leaf))


def deep(depth: int) -> None:
    if depth:
        deep(depth - 1)
    else:
        burn(1)


def recursion() -> None:
    deep(120)


def again_and_again(work: Callable[[], None]) -> None:
    while True:
        work()


def threads(number: int = 3) -> None:
    for _ in range(number):
        threading.Thread(target=again_and_again, args=(shares,), daemon=True).start()
    again_and_again(shares)


def everything() -> None:
    """All of the above, with two threads more."""
    if threading.active_count() == 1:
        for _ in range(2):
            threading.Thread(target=again_and_again, args=(shares,), daemon=True).start()
    for work in (shares, coroutines, callbacks, recursion):
        work()


def many_threads() -> None:
    threads(63)


def main() -> None:
    print("ready", flush=True)
    again_and_again(globals()[sys.argv[1]])


main()
