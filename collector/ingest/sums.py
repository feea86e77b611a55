"""Sums by key, exact in 64-bit integers (numpy's weighted bincount would go through float64)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from collector.ingest.window import I64, U64

_DENSE_FACTOR = 8
"""Up to this many times the rows, an array over all keys is faster than sorting them."""


def sum_by(keys: I64, size: int, *columns: npt.NDArray[Any]) -> tuple[I64, list[U64]]:
    """The distinct keys in ascending order, and each column summed by them.

    Keys are 0 ≤ key < `size`. Columns are unsigned integers of the keys' length.
    """
    if size <= _DENSE_FACTOR * len(keys) + 1024:
        present = np.flatnonzero(np.bincount(keys, minlength=size))
        return present, [_scatter(keys, column, size)[present] for column in columns]
    distinct, places = np.unique(keys, return_inverse=True)
    return distinct, [_scatter(places, column, len(distinct)) for column in columns]


def _scatter(places: I64, values: npt.NDArray[Any], size: int) -> U64:
    sums = np.zeros(size, np.uint64)
    np.add.at(sums, places, values.astype(np.uint64, copy=False))
    return sums


def ragged_places(starts: I64, lengths: I64) -> I64:
    """The places of all elements of rows that begin at `starts` and have `lengths`, row after row."""
    ends: I64 = lengths.cumsum()
    first: I64 = np.repeat(starts - ends + lengths, lengths)
    return first + np.arange(len(first), dtype=np.int64)
