"""Keeps the agent's memory small: the C library may not hoard what was freed.

glibc raises its own thresholds as large blocks come and go, and then keeps freed memory for reuse. The agent
reads a symbol table of many megabytes once and never again, so that this would stay resident for ever
(8 of 85 MB on a small host). Where the C library is not glibc, nothing is done.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3), from malloc.h."""
_BLOCK_BYTES = 128 << 10

_libc = ctypes.CDLL(None)
_IS_GLIBC = hasattr(_libc, "mallopt") and hasattr(_libc, "malloc_trim")


def limit_hoarding() -> None:
    """Fix glibc's thresholds, and let all threads share one heap. Call once, before threads start."""
    if _IS_GLIBC:
        _libc.mallopt(_M_ARENA_MAX, 1)
        _libc.mallopt(_M_MMAP_THRESHOLD, _BLOCK_BYTES)
        _libc.mallopt(_M_TRIM_THRESHOLD, _BLOCK_BYTES)


def give_back() -> None:
    """Return freed memory to the kernel; about a millisecond."""
    if _IS_GLIBC:
        _libc.malloc_trim(0)
