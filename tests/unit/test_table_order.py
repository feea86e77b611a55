"""A batch's block of samples is in the table's order, and holds the same rows."""

from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.admission import admit, receive
from collector.ingest.blocks import make_blocks
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.resolve import make_batch
from collector.ingest.written import Written
from collector.store.chdb import ChdbStore
from fleetprof.profile_types import ProfileType
from tests.store.pushes import Row, push_request

LIMITS = Limits()
START_S = 1_700_002_800 - 20  # the hour turns within the windows
SERVICES = ("é", "web", "Web", "")
ROWS = st.lists(
    st.tuples(
        st.sampled_from(SERVICES),
        st.sampled_from(["a;main", "b;main", "c;b;main"]),
        st.sampled_from([ProfileType.CPU, ProfileType.OFFCPU, ProfileType.RUNQ]),
        st.lists(st.integers(0, 999), max_size=3).map(sorted),
    ),
    min_size=1,
    max_size=12,
)


class NoStore(ChdbStore):
    """Definitions come with the windows: nothing is asked of a store."""

    def __init__(self) -> None:
        pass


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_rows_are_in_the_tables_order_and_none_is_changed(
    windows: list[list[tuple[str, str, ProfileType, list[int]]]],
) -> None:
    requests, expected, value = [], [], 0
    for sequence, given_rows in enumerate(windows):
        rows = []
        for service, stack, kind, offsets in given_rows:
            value += 1
            rows.append(Row(stack, value, kind, len(offsets), offsets, {"service": service}))
            expected.append((value, service, kind.label, START_S + 10 * sequence, offsets))
        requests.append(push_request(rows, {"host": "h"}, sequence + 1, START_S + 10 * sequence))
    taken = [admit(receive(each.SerializeToString(), LIMITS), LIMITS, START_S + 60) for each in requests]
    batch, away = make_batch(taken, KnownDefinitions(NoStore()), LIMITS)
    assert batch
    assert not away
    block = make_blocks(batch, {}, {}, Written())["samples"]
    columns = {name: block[name].tolist() for name in ("ts", "series", "stack", "value", "captures")}
    texts = [block[name].to_pylist() for name in ("service", "type", "offsets")]
    found = list(zip(columns["value"], texts[0], texts[1], columns["ts"], texts[2], strict=True))
    assert sorted(found) == sorted(expected)
    assert columns["captures"] == [len(offsets) for offsets in texts[2]]
    keys = [
        (service.encode(), kind.encode(), ts // 3600, stack, series, ts)
        for service, kind, ts, stack, series in zip(
            texts[0], texts[1], columns["ts"], columns["stack"], columns["series"], strict=True
        )
    ]
    assert keys == sorted(keys)
