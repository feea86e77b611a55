"""A batch's rows in the order in which table samples keeps them.

ClickHouse sorts each block that it is given, column by column, unless it finds it sorted; one sort of one number a
row is several times cheaper, most of all for a server.
"""

from collections.abc import Sequence

import numpy as np

from collector.ingest.batch import Batch
from collector.ingest.rollups import HOUR_S
from collector.ingest.sums import ragged_places
from collector.ingest.window import I64, U16, U32, U64
from collector.ingest.words import TYPE_LABELS

_LARGEST = (1 << 63) - 1


def table_order(batch: Batch) -> I64:
    """Places of the rows by service, type, hour, stack, series and start.

    As they are where one number cannot hold all of that: then the store sorts them.
    """
    rows = batch.rows
    hours = batch.ts // np.uint32(HOUR_S)
    keys = (
        _ranks([series.label("service") for series in batch.all_series])[batch.series],
        _ranks(TYPE_LABELS)[rows.type],
        hours - hours.min(initial=np.iinfo(np.uint32).max),
        _places_of(batch.stack_ids)[batch.stack],
        _places_of(batch.series_ids)[batch.series],
        batch.ts % np.uint32(HOUR_S),
    )
    sizes = [int(key.max(initial=0)) + 1 for key in keys]
    if np.prod([float(size) for size in sizes]) > _LARGEST:
        return np.arange(len(batch.ts))
    number = np.zeros(len(batch.ts), np.int64)
    for key, size in zip(keys, sizes, strict=True):
        number *= size
        number += key
    order: I64 = np.argsort(number)
    return order


def ordered_offsets(offsets: U16, counts: U32, order: I64) -> tuple[U16, U32]:
    """(offsets, counts) of the rows in this order; row i has the next counts[i] offsets."""
    lengths = counts.astype(np.int64)
    places = ragged_places((lengths.cumsum() - lengths)[order], lengths[order])
    return offsets[places], counts[order]


def _ranks(texts: Sequence[str]) -> I64:
    """The place of each text among the distinct ones, in the order of their UTF-8, which is that of code points."""
    place = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    return np.array([place[text] for text in texts], np.int64)


def _places_of(ids: U64) -> I64:
    """The place of each id, which are distinct, among them in ascending order."""
    places = np.empty(len(ids), np.int64)
    places[np.argsort(ids)] = np.arange(len(ids))
    return places
