"""How a Python frame looks among the addresses of a stack: the words of bpf/cpython.h.

The two highest bits are 10, which no address of a process has; below them are 18 bits that change with the names of
the code object, and its address / 8. The same word always means the same function, as far as one process goes.
"""

import numpy as np
import numpy.typing as npt

from agent.samples import U64

_TOP_BITS, _PYTHON = np.uint64(62), np.uint64(2)
_ADDRESS = np.uint64((1 << 62) - 1)
WORDS = range(2 << 62, 3 << 62)
"""Entries of stacks that are Python frames."""


def is_word(addr: int) -> bool:
    """Whether an entry of a stack is a Python frame."""
    return addr in WORDS


def are_words(addrs: U64) -> npt.NDArray[np.bool_]:
    """Which entries of stacks are Python frames."""
    found: npt.NDArray[np.bool_] = addrs >> _TOP_BITS == _PYTHON
    return found


def without_words(addrs: U64, where: npt.NDArray[np.bool_]) -> None:
    """Make addresses, outside of all mappings, of what looks like a Python frame in some entries; in place."""
    false = where & are_words(addrs)
    addrs[false] &= _ADDRESS
