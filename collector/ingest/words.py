"""Columns of text that repeats: a number a row, and each text once."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fleetprof.profile_types import ProfileType

TYPE_LABELS = ["", *(type_.label for type_ in ProfileType)]
"""By number of ProfileType."""


def words(codes: npt.NDArray[Any], texts: list[str]) -> pa.DictionaryArray:
    """A text column whose row i is texts[codes[i]]; ClickHouse refuses dictionaries with duplicates."""
    places: dict[str, int] = {}
    of_code = np.array([places.setdefault(text, len(places)) for text in texts], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(of_code[codes]), pa.array(list(places), pa.string()))
