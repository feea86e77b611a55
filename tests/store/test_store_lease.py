"""One collector writes to a server at a time: refusal, takeover, and what a deposed one can still do."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from collector.store.errors import StoreTaken
from collector.store.server import ServerStore

pytestmark = pytest.mark.store

Open = Callable[[], ServerStore]
ROW = {"ts": [1], "service": ["s"], "type": ["cpu"], "series": [1], "value": [1], "captures": [1]}


def rows(store: ServerStore) -> int:
    return int(store.query(("SELECT count() AS n FROM series_1m", {}))["n"][0])


def fall_asleep(store: ServerStore) -> None:
    """What a stopped process does: no beats, and no knowledge of what happens meanwhile."""
    assert store._lease
    assert store._lease._thread
    store._lease._ending.set()
    store._lease._thread.join()


def test_a_second_collector_is_refused_and_told_who_is_first(connect: Open) -> None:
    first, second = connect(), connect()
    first.own("first")
    with pytest.raises(StoreTaken, match=r"in use by another collector \(.+, process \d+\)"):
        second.own("second")
    first.insert("series_1m", ROW, "")
    assert first.owned


def test_one_of_many_gets_the_lease(connect: Open) -> None:
    stores = [connect() for _ in range(4)]

    def own(store: ServerStore) -> bool:
        try:
            store.own(str(id(store)))
        except StoreTaken:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(own, stores)) == 1


def test_the_next_one_takes_over_at_once_after_an_orderly_end_and_a_restart(connect: Open) -> None:
    first, second, again = connect(), connect(), connect()
    for store in (first, second, again):
        store.lease_s = (0.05, 3600.0)  # nothing of this waits for an expiry
    assert first.own("first")
    first.close()
    assert not second.own("second")
    fall_asleep(second)  # killed, and started again on the same data folder
    assert again.own("second")
    again.insert("series_1m", ROW, "")
    assert rows(again) == 1


def test_what_follows_from_another_ones_lease_is_done_before_the_store_is_ones_own(connect: Open) -> None:
    """Who dies while doing it does it again, and not once the store is its own."""
    first, second, again = connect(), connect(), connect()
    first.own("first")
    first.close()
    with pytest.raises(RuntimeError, match="killed"):
        second.own("second", after_other=_killed)
    done: list[str] = []
    assert not again.own("second", after_other=lambda: done.append("once"))
    again.close()
    assert connect().own("second", after_other=lambda: done.append("twice"))
    assert done == ["once"]


def _killed() -> None:
    raise RuntimeError("killed")


def test_a_standby_takes_over_and_the_sleeper_cannot_write(connect: Open) -> None:
    first, second = connect(), connect()
    first.own("first")
    fall_asleep(first)
    second.own("second", wait=True)
    with pytest.raises(StoreTaken, match="has taken over"):
        first.insert("series_1m", ROW, "")
    assert not first.owned
    assert rows(second) == 0
    second.insert("series_1m", ROW, "")
    assert (rows(second), second.owned) == (1, True)


def test_a_standby_can_be_stopped(connect: Open) -> None:
    first, second = connect(), connect()
    first.own("first")
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(StoreTaken, match="Stopped while another"):
        second.own("second", wait=True, stopping=stopping)


def test_a_takeover_waits_for_an_insert_that_began_before(connect: Open) -> None:
    """The sleeper has been let in and falls asleep before it sends: its rows come, and the next one sees them."""
    first, second = connect(), connect()
    first.own("first")
    asked, go_on = threading.Event(), threading.Event()
    may_write = first._may_write

    def slow() -> None:
        may_write()
        asked.set()
        assert go_on.wait(20)

    first._may_write = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as threads:
        insert = threads.submit(first.insert, "series_1m", ROW, "")
        assert asked.wait(20)
        fall_asleep(first)
        taking = threads.submit(second.own, "second", True)
        while first._epochs().newest() != 2:
            assert not taking.done()
        assert not taking.done()
        go_on.set()
        insert.result(20)
        taking.result(20)
    assert rows(second) == 1
    assert second.newest_blocks()["series_1m"] == 1
