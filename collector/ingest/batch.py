"""Several windows as one set of columns, with series and stacks numbered across them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.ingest.definitions import Series, Stack
from collector.ingest.rows import Rows
from collector.ingest.window import I64, U32, U64, Window
from collector.ingest.words import words


@dataclass(frozen=True, slots=True)
class Numbered:
    """The ids that rows refer to, each once: row i means ids[codes[i]]."""

    ids: U64
    codes: I64


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of several windows of one day. `series` and `stack` number the batch's own lists."""

    windows: list[Window]
    rows: Rows
    ts: U32
    series: I64
    stack: I64
    series_ids: U64
    all_series: list[Series]
    stack_ids: U64
    all_stacks: list[Stack]

    @property
    def start_s(self) -> int:
        """Start of a window; all are of one day."""
        return self.windows[0].start_s


def number(ids: U64) -> Numbered:
    """Number the distinct ids (by hashing: ten times faster than by sorting)."""
    encoded = pa.array(ids).dictionary_encode()
    distinct: U64 = encoded.dictionary.to_numpy(zero_copy_only=False)
    return Numbered(distinct, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64))


def start_of_rows(windows: list[Window], rows: Rows) -> U32:
    """The start of each row's window."""
    return np.repeat(np.array([window.start_s for window in windows], np.uint32), rows.counts)


def services(all_series: list[Series]) -> Callable[[npt.NDArray[Any]], pa.DictionaryArray]:
    """A function from numbers of series to the column of their services."""
    names = [series.label("service") for series in all_series]
    return lambda numbers: words(numbers, names)
