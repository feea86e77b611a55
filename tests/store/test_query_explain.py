"""Why a question had no answer, and completeness at its edges."""

import uuid
from dataclasses import replace

import pytest

from collector.query.asking import Asking, Limits
from collector.query.completeness import load_coverage
from collector.query.completion import complete
from collector.query.model import Completion, Matcher, Query, TimeRange
from collector.query.querier import Querier
from collector.query.selector import parse_selector
from collector.query.sources import Binds
from collector.store.chdb import ChdbStore
from collector.store.errors import QueryTooLong, StoreBusy
from fleetprof.errors import InputError
from fleetprof.losses import DropReason
from fleetprof.profile_types import selection
from tests.store.generate import Fleet, Rows, insert, insert_losses, make_rows

HOUR_S = 3600


@pytest.fixture(scope="module")
def rows(store: ChdbStore) -> Rows:
    """An hour of two services on two hosts, without off-CPU samples."""
    name = f"explain{uuid.uuid4().hex[:8]}"
    start_s = (1_550_000_000 + uuid.uuid4().int % 100_000_000) // 86400 * 86400 + 5 * HOUR_S
    fleet = Fleet(
        start_s=start_s,
        windows=360,
        services=(f"{name}-checkout", f"{name}-cart"),
        hosts=2,
        types=("cpu", "runq"),
        seed=3,
    )
    drawn = make_rows(fleet)
    insert(store, drawn)
    return drawn


def ask(rows: Rows, selector: str, start: int = 0, end: int = HOUR_S, type: str = "cpu") -> Query:
    start_s = rows.fleet.start_s
    return Query(selection(type), parse_selector(selector), TimeRange(start_s + start, start_s + end))


def test_unknown_service_gets_a_suggestion(store: ChdbStore, rows: Rows) -> None:
    checkout = rows.fleet.services[0]
    wrong = checkout.replace("checkout", "chekout")
    assert Querier(store).explain_empty(ask(rows, f'service="{wrong}"')) == (
        f'No samples match. service "{wrong}" has never sent data. Did you mean {checkout}?'
    )


def test_unknown_label_and_regex(store: ChdbStore, rows: Rows) -> None:
    querier = Querier(store)
    assert querier.explain_empty(ask(rows, 'servize="x"')) == (
        "No samples match. No series has a label servize. Did you mean service?"
    )
    assert querier.explain_empty(ask(rows, f'service="{rows.fleet.services[0]}",thread=~"zz.*"')) == (
        'No samples match. No thread has ever matched "zz.*".'
    )


def test_range_before_and_after_the_service(store: ChdbStore, rows: Rows) -> None:
    querier = Querier(store)
    selector = f'service="{rows.fleet.services[0]}"'
    before = querier.explain_empty(ask(rows, selector, -2 * HOUR_S, -HOUR_S))
    assert before.startswith("No data before ")
    after = querier.explain_empty(ask(rows, selector, 2 * HOUR_S, 3 * HOUR_S))
    assert after.startswith("No data after ")


def test_other_profile_type_is_named(store: ChdbStore, rows: Rows) -> None:
    query = ask(rows, f'service="{rows.fleet.services[0]}"', type="offcpu")
    assert Querier(store).explain_empty(query) == (
        "No samples match. There is no off-cpu time here, but there is CPU time and run-queue wait."
    )


def test_matchers_that_exclude_each_other(store: ChdbStore, rows: Rows) -> None:
    query = ask(rows, f'service="{rows.fleet.services[0]}",thread="main",thread!="main"')
    assert "not all of them together" in Querier(store).explain_empty(query)


def test_a_query_past_its_time_says_so(store: ChdbStore) -> None:
    slow = Asking(store, Limits(seconds=1))
    with pytest.raises(QueryTooLong, match=r"This query took longer than 1 s\.") as late:
        slow.ask("SELECT sum(sleepEachRow(0.5)) AS s FROM numbers(20)", Binds())
    assert late.value.hint == "Shorten the range or narrow the selector; nothing was lost."


def test_a_query_past_its_memory_says_so(store: ChdbStore) -> None:
    if not store.dialect.modern:
        pytest.skip("18.16 heeds the limit of the connection, not that of a query")
    small = Asking(store, Limits(memory_bytes=1 << 20))
    with pytest.raises(StoreBusy, match="needs more memory than the 1 MiB") as busy:
        small.ask("SELECT length(groupArray(number)) AS n FROM numbers(10000000)", Binds())
    assert "Shorten the range" in busy.value.hint


@pytest.mark.parametrize(("step_s", "group_by"), [(15, None), (0, None), (-10, None), (60, "no-label")])
def test_bad_series_requests(store: ChdbStore, rows: Rows, step_s: int, group_by: str | None) -> None:
    with pytest.raises(InputError):
        Querier(store).series(ask(rows, ""), step_s, group_by)


def test_too_many_points(store: ChdbStore, rows: Rows) -> None:
    with pytest.raises(InputError, match="more than 11000 points"):
        Querier(store).series(ask(rows, "", 0, 200 * HOUR_S), 10)


def test_completeness_of_a_host_that_stopped(store: ChdbStore) -> None:
    """Silent for under an hour: missing. Gone for longer: not expected any more. Too recent: in flight."""
    name = f"silent{uuid.uuid4().hex[:8]}"
    start_s = (1_350_000_000 + uuid.uuid4().int % 100_000_000) // 86400 * 86400
    rows = make_rows(Fleet(start_s, windows=180, services=(name,), hosts=1))
    insert(store, rows)
    insert_losses(store, start_s, rows.labels[0]["host"], DropReason.RING_FULL, 12)
    asking = Asking(store)
    query = Query(selection("cpu"), (Matcher("service", "=", name),), TimeRange(start_s, start_s + HOUR_S))

    def expected(query: Query, now_s: int) -> tuple[int, int]:
        completeness = load_coverage(asking, query, now_s).completeness
        return completeness.windows_received, completeness.windows_expected

    assert expected(query, start_s + 10 * HOUR_S) == (180, 360)
    assert expected(query, start_s + 1800) == (180, 180)
    assert expected(query, start_s + 2400) == (180, 180 + 58)
    longer = replace(query, range=TimeRange(start_s, start_s + 3 * HOUR_S))
    assert expected(longer, start_s + 10 * HOUR_S) == (180, 180)
    part = replace(query, range=TimeRange(start_s + 600, start_s + 1200))
    assert expected(part, start_s + 10 * HOUR_S) == (60, 60)
    nothing = replace(query, range=TimeRange(start_s - 7200, start_s - 3600))
    assert expected(nothing, start_s + 10 * HOUR_S) == (0, 0)
    assert load_coverage(asking, query).completeness.losses == {"ring_full": 12}
    columns = "run_id, sequence, host, covered_ns, cpu_count, cpu_exact, period_ns, rows, received_at"
    cost = "agent_cpu_ns, agent_bpf_ns, agent_rss_bytes, agent_map_bytes"
    again = f"SELECT ts, 'another' AS agent_id, {columns}, {cost} FROM windows WHERE host = %(host)s"
    store.execute((f"INSERT INTO windows {again}", {"host": rows.labels[0]["host"]}))
    assert expected(query, start_s + 10 * HOUR_S) == (180, 360), "two agents of one host"


def test_completion_offers_what_the_store_has(store: ChdbStore, rows: Rows) -> None:
    querier = Querier(store)
    range = TimeRange(rows.fleet.start_s, rows.fleet.start_s + HOUR_S)
    checkout, cart = rows.fleet.services
    prefix = checkout.removesuffix("checkout")

    def at_end(text: str) -> Completion:
        return complete(text, len(text), querier, range)

    typed = f'{{service="{prefix}'
    assert at_end(typed) == Completion("value", 9, len(typed), (f'"{cart}"', f'"{checkout}"'))
    assert at_end(f'{{service="{checkout}",thr').candidates == ("thread",)
    assert at_end(f'{{service="{checkout}",thread="').candidates == ('"main"', '"worker"')
    assert at_end(f'{{service="{checkout}",thread').candidates == ("thread",)
    assert at_end(f'{{service="{checkout}",thread=~"m').candidates == ('"main"',)
    assert at_end(f'{{service=~"{prefix}').candidates == (f'"{cart}"', f'"{checkout}"')
