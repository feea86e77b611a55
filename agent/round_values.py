"""Rounds a window's values, so that they take a byte or two on the wire and on disk instead of four.

A value scaled to exact times looks random to the nanosecond, while a row of one CPU sample is true to 10 ms at
best. So rows are rounded to STEP_NS, by systematic sampling: values are laid end to end, and the borders between
them move to marks STEP_NS apart, which begin at a random place. Each row is off by less than a step, and right on
average: errors do not add up over windows. The sum of each series and type is rounded to SUM_STEP_NS in the same
way: a thousandth of a percent of what a thread can run in a window, and less than clocks of two hosts differ.

Systematic sampling: Madow (1949), "On the theory of systematic sampling, II", Ann. Math. Statist. 20.
"""

import os
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agent.samples import I64, U64

_STEP_BITS = 21
STEP_NS = 1 << _STEP_BITS
"""2.1 ms, a fifth of a sample at 99 Hz: the variance of a row of one sample grows by 1 % at most. A power of two
leaves whole bytes and bits zero."""
_SUM_STEP_BITS = 16
SUM_STEP_NS = 1 << _SUM_STEP_BITS
"""66 µs. One row in 17 holds what its series and type have left over, and its nanoseconds alone took a quarter of
all values' bytes on disk."""


class Integers(Protocol):
    """As numpy.random.Generator, as far as it is needed here."""

    def integers(self, low: int, high: int, size: int) -> I64:
        """So many random numbers from `low` to below `high`, evenly distributed."""
        ...


class KernelRandom:
    """The kernel's random numbers: NumPy's generators are 7 MB more to import, for some numbers a window."""

    def integers(self, low: int, high: int, size: int) -> I64:
        """See Integers; the unevenness of the remainder is below 2**-32 for ranges of up to 2**32."""
        words = np.frombuffer(os.urandom(8 * size), np.uint64)
        return low + (words % np.uint64(high - low)).astype(np.int64)


def round_values(
    values: U64,
    series: npt.NDArray[Any],
    kind: npt.NDArray[Any],
    random: Integers,
    exact_sums: bool = False,
) -> U64:
    """Rounded values of rows; `series` and `kind` (profile type), row-wise numbers, say whose sums are kept.

    Where the largest value of a series and type is below a step, its values are rounded to SUM_STEP_NS, and where
    it is below two of those, they stay as they are. `exact_sums`: to the nanosecond; then the former stay, too.
    """
    if not len(values):
        return values
    order = np.lexsort((values, kind, series))
    value, begins = values[order].astype(np.int64), np.ones(len(order), np.bool_)
    begins[1:] = (np.diff(series[order].astype(np.int64)) != 0) | (np.diff(kind[order].astype(np.int64)) != 0)
    starts = np.flatnonzero(begins)
    lasts = np.append(starts[1:], len(order)) - 1  # the largest of each group
    group = begins.cumsum() - 1
    ends = value.cumsum()
    border = ends - (ends[starts] - value[starts])[group]
    sum_bits = 0 if exact_sums else _SUM_STEP_BITS
    bits = _step_bits(value[lasts], sum_bits)
    begin = random.integers(0, STEP_NS, len(starts))
    rounded = _move(border, bits[group], begin[group])
    # The largest row takes what is left over, and has room for it.
    rounded[lasts] = _move(border[lasts], np.minimum(bits, sum_bits), begin)
    parts = np.diff(rounded, prepend=0)
    parts[starts] = rounded[starts]
    result = np.empty_like(values)
    result[order] = parts.astype(np.uint64)
    return result


def _step_bits(largest: I64, sum_bits: int) -> I64:
    """By group: the power of two that its rows are rounded to."""
    small = np.where(largest >= 2 << sum_bits, sum_bits, 0)
    return np.where(largest >= STEP_NS + (1 << sum_bits), _STEP_BITS, small)


def _move(border: I64, bits: I64, begin: I64) -> I64:
    """Borders at marks 2^bits apart, of which the first lies `begin` (its lowest bits) before 0."""
    moved: I64 = (border + (begin & ((1 << bits) - 1))) >> bits << bits
    return moved
