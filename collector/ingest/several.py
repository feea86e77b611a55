"""Columns of several windows or requests, one after the other, `counts` of them from each."""

from typing import Any

import numpy as np
import numpy.typing as npt

from collector.ingest.refusal import malformed
from collector.ingest.window import I64, U64


def sums_before(numbers: npt.NDArray[Any]) -> I64:
    """The sum of all numbers before each, and of all at the end."""
    sums = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(numbers, out=sums[1:], dtype=np.int64)
    return sums


def places_of_all(numbers: U64, counts: I64, lengths: I64, why: str) -> I64:
    """Places in the lists of all, from places in each one's own, which has `lengths` items.

    Raises Refused, because of `why`, for a place that is not there.
    """
    if (numbers >= np.repeat(lengths, counts).astype(np.uint64)).any():
        raise malformed(why)
    places: I64 = numbers.astype(np.int64) + np.repeat(lengths.cumsum() - lengths, counts)
    return places
