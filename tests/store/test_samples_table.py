"""What merges make of table samples: when in a window samples fell goes after two days, all else stays."""

import time

import numpy as np
import pytest

from collector.store.columns import from_ragged
from collector.store.interface import Store

pytestmark = pytest.mark.store


def test_offsets_go_with_the_merges_after_two_days(store: Store, service: str) -> None:
    if not store.dialect.modern:
        pytest.skip("18.16 knows no TTL: there they stay")
    now_s = int(time.time()) // 10 * 10
    starts = [now_s - 86400, now_s - 3 * 86400]
    store.insert(
        "samples",
        {
            "ts": np.array(starts, np.uint32),
            "service": [service, service],
            "type": ["cpu", "cpu"],
            "series": np.array([1, 1], np.uint64),
            "stack": np.array([2, 2], np.uint64),
            "value": np.array([10, 20], np.uint64),
            "captures": np.array([2, 2], np.uint32),
            "offsets": from_ragged(np.array([1, 999, 3, 4], np.uint16), [2, 2]),
        },
        "offsets",
    )
    store.execute(("OPTIMIZE TABLE samples FINAL", {}))
    columns = "toUInt32(ts) AS t, value, captures, offsets"
    statement = f"SELECT {columns} FROM samples WHERE service = %(s)s ORDER BY ts DESC"
    found = store.query((statement, {"s": service}))
    assert found["t"].tolist() == starts
    assert found["value"].tolist() == [10, 20]
    assert found["captures"].tolist() == [2, 2]
    assert [each.tolist() for each in found["offsets"]] == [[1, 999], []]
