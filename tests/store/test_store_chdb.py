"""The embedded store on real chDB: values in and out, errors, one process a folder."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.store.chdb import ChdbStore
from collector.store.columns import from_ragged, ragged
from collector.store.errors import QueryTooLong, StoreBusy, StoreError
from fleetprof.errors import UnavailableError

pytestmark = pytest.mark.store

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
HOSTILE = "'; DROP TABLE samples; -- \\' \\\\ \0 %(x)s %s {x:String} \n\t\r\b\f ' OR 1=1 /* \u2019 😀"


@settings(max_examples=150)
@given(TEXT, st.lists(TEXT, max_size=5))
@example(HOSTILE, [HOSTILE, "", "\\", "'", "\\'"])
def test_text_comes_back_as_it_went_in(store: ChdbStore, text: str, texts: list[str]) -> None:
    found = store.query(
        (
            "SELECT %(text)s AS text, %(text)s IN %(texts)s AS one, %(text)s IN %(all)s AS other, 5 %% 3 AS two",
            {"text": text, "texts": texts, "all": [*texts, text]},
        )
    )
    assert found["text"].tolist() == [text]
    assert (found["one"].tolist(), found["other"].tolist()) == ([text in texts], [1])
    assert found["two"].tolist() == [2]


@pytest.mark.parametrize("value", [0, 2**64 - 1, -(2**63), 0.1, -1e-300, True])
def test_numbers_come_back(store: ChdbStore, value: float) -> None:
    assert store.query(("SELECT %(x)s AS x", {"x": value}))["x"].tolist() == [value]


def insert_series(store: ChdbStore, service: str, value: int = 1) -> None:
    block = {"ts": [1_700_000_000], "service": [service], "type": ["cpu"], "series": [1], "value": [value],
             "captures": [1]}  # fmt: skip
    store.insert("series_1m", block, "")


def test_in_takes_lists_arrays_and_empty_ones(store: ChdbStore, service: str) -> None:
    insert_series(store, service)
    count = "SELECT count() AS n FROM series_1m WHERE service IN %(services)s AND series IN %(series)s"
    for series, rows in (([1, 2], 1), (np.array([1], np.uint64), 1), ((2**64 - 1,), 0), ([], 0)):
        found = store.query((count, {"services": [service, HOSTILE], "series": series}))
        assert found["n"].tolist() == [rows]


def test_identical_inserts_are_kept(store: ChdbStore, service: str) -> None:
    insert_series(store, service)
    insert_series(store, service)
    found = store.query(("SELECT sum(value) AS v FROM series_1m WHERE service = %(s)s", {"s": service}))
    assert found["v"].tolist() == [2]


def test_lists_need_no_python_object_a_row(store: ChdbStore, service: str) -> None:
    lists = {"frames": from_ragged(np.array([2**64 - 1, 5, 6], np.uint64), [1, 0, 2])}
    block = {"service": [service] * 3, "stack": [1, 2, 3], "last_seen": [1_700_000_000] * 3, **lists}
    store.insert("stacks", block, "")
    statement = ("SELECT frames FROM stacks WHERE service = %(s)s ORDER BY stack", {"s": service})
    flat, starts = ragged(store.query_arrow(statement).column("frames"))
    assert flat.tolist() == [2**64 - 1, 5, 6]
    assert starts.tolist() == [0, 1, 1, 3]
    assert [row.tolist() for row in store.query(statement)["frames"]] == [[2**64 - 1], [], [5, 6]]


def test_no_rows_give_empty_columns(store: ChdbStore) -> None:
    found = store.query(("SELECT ts, service, offsets FROM samples WHERE service = 'none'", {}))
    assert {name: len(values) for name, values in found.items()} == {"ts": 0, "service": 0, "offsets": 0}
    flat, starts = ragged(store.query_arrow(("SELECT offsets FROM samples WHERE 0", {})).column("offsets"))
    assert (flat.tolist(), starts.tolist()) == ([], [0])


@pytest.mark.parametrize("change", [{"value": [1, 2]}, {"extra": [1]}, {"value": [-1]}, {"value": ["x"]}])
def test_a_block_that_does_not_fit_is_not_inserted(store: ChdbStore, change: dict[str, list[object]]) -> None:
    block = {"ts": [1], "service": ["x"], "type": ["cpu"], "series": [1], "value": [1], "captures": [1]}
    with pytest.raises((ValueError, OverflowError, TypeError)):
        store.insert("series_1m", block | change, "")


def test_a_large_insert_is_one_block(store: ChdbStore) -> None:
    """What `newest_blocks` tells after a crash holds only if an insert cannot be committed in part."""
    store.execute(("CREATE TABLE large (n UInt64) ENGINE = MergeTree ORDER BY n", {}))
    before = store.newest_blocks()
    store.insert("large", {"n": np.arange(2_500_000, dtype=np.uint64)}, "")
    parts = store.query(("SELECT rows, max_block_number AS b FROM system.parts WHERE table = 'large'", {}))
    assert parts["rows"].tolist() == [2_500_000]
    assert before.get("large", 0) < store.newest_blocks()["large"] == parts["b"][0]
    store.execute(("DROP TABLE large", {}))


def test_newest_blocks_tell_inserts_and_survive_merges(store: ChdbStore, service: str) -> None:
    insert_series(store, service)
    first = store.newest_blocks()["series_1m"]
    insert_series(store, service)
    assert store.newest_blocks()["series_1m"] == first + 1
    store.execute(("OPTIMIZE TABLE series_1m FINAL", {}))
    assert store.newest_blocks()["series_1m"] == first + 1


def test_errors_are_typed(store: ChdbStore) -> None:
    with pytest.raises(StoreError) as missing:
        store.query(("SELECT 1 FROM no_such_table", {}))
    assert missing.value.code == 60
    with pytest.raises(StoreError, match="no table"):
        store.insert("no_such_table", {"a": [1]}, "")
    with pytest.raises(StoreBusy):
        store.query(("SELECT groupArray(number) AS n FROM numbers(100000000)"
                     " SETTINGS max_memory_usage = 10000000", {}))  # fmt: skip
    with pytest.raises(QueryTooLong):
        store.query(("SELECT count() AS n FROM numbers(1000000000000) WHERE cityHash64(number) = 1"
                     " SETTINGS max_execution_time = 1", {}))  # fmt: skip


def test_a_query_that_took_too_long_leaves_nothing_for_the_next(embedded: ChdbStore) -> None:
    slow = "SELECT number % 9 AS key, sum(number) AS value FROM numbers(100000000000) GROUP BY key"
    for number in range(2):
        with pytest.raises(QueryTooLong):
            embedded.query((slow + " SETTINGS max_execution_time = 1", {}))
        found = embedded.query(("SELECT %(n)s AS answer", {"n": number}))
        assert {name: values.tolist() for name, values in found.items()} == {"answer": [number]}


def test_many_threads_share_a_store(store: ChdbStore, service: str) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                insert_series(store, service)
                store.query(("SELECT count() AS n FROM series_1m", {}))
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.query(("SELECT sum(value) AS v FROM series_1m WHERE service = %(s)s", {"s": service}))
    assert not failures
    assert found["v"].tolist() == [60]


def test_a_second_folder_in_this_process_is_refused(embedded: ChdbStore, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="another data folder open"):
        ChdbStore(tmp_path)


def test_the_same_folder_is_refused_by_process_id(embedded: ChdbStore) -> None:
    with pytest.raises(UnavailableError, match=f"in use by process {os.getpid()}"):
        ChdbStore(embedded.path)


OPEN = """
import sys
from pathlib import Path
from collector.store.chdb import ChdbStore
from fleetprof.errors import FleetprofError
try:
    store = ChdbStore(Path(sys.argv[1]))
except FleetprofError as error:
    sys.exit(str(error))
print("open", flush=True)
sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        assert first.stdout.readline() == "open\n"
        second = subprocess.run(command, input="", capture_output=True, text=True, timeout=60)
        assert f"in use by process {first.pid}" in second.stderr
        first.send_signal(signal.SIGKILL)
    third = subprocess.run(command, input="", capture_output=True, text=True, timeout=60)
    assert (third.returncode, third.stdout) == (0, "open\n")


def test_a_folder_that_cannot_be_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnavailableError, match="Cannot use the data folder"):
        ChdbStore(tmp_path / "file" / "data")
