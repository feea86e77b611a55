"""Rounds a window's values, so that they take a byte or two on the wire and on disk instead of four.

A value scaled to exact times looks random to the nanosecond, while a row of one CPU sample is true to 10 ms at
best. So rows are rounded to STEP_NS, by systematic sampling: values are laid end to end, and the borders between
them move to marks STEP_NS apart, which begin at a random place. Each row is off by less than a step, and right on
average: errors do not add up over windows. The sum of each series and type stays exact to the nanosecond.

Systematic sampling: Madow (1949), "On the theory of systematic sampling, II", Ann. Math. Statist. 20.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from agent.samples import U64

_STEP_BITS = 20
STEP_NS = 1 << _STEP_BITS
"""1.05 ms, a tenth of a sample at 99 Hz. A power of two leaves whole bytes and bits zero."""


def round_values(
    values: U64, series: npt.NDArray[Any], kind: npt.NDArray[Any], random: np.random.Generator
) -> U64:
    """Rounded values of rows; `series` and `kind` (profile type), row-wise numbers, say whose sums are kept.

    Where even the largest value of a series and type is below a step, values stay as they are.
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
    rounded = (border + random.integers(0, STEP_NS, len(starts))[group]) >> _STEP_BITS << _STEP_BITS
    rounded[lasts] = border[lasts]  # the largest row takes what is left over, and has room for it
    rounded = np.where(value[lasts][group] < STEP_NS, border, rounded)
    parts = np.diff(rounded, prepend=0)
    parts[starts] = rounded[starts]
    result = np.empty_like(values)
    result[order] = parts.astype(np.uint64)
    return result
