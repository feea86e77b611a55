"""The life of an alert in the book: every path through its states, and what must never happen."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.alerts.book import AlertBook
from collector.alerts.model import Look, State
from fleetprof.errors import InputError, UnavailableError
from tests.unit.alert_data import T, open_book, release, sight, threshold


@pytest.fixture
def book(tmp_path: Path) -> Iterator[AlertBook]:
    opened = open_book(tmp_path)
    yield opened
    opened.database.close()


def outbox(book: AlertBook) -> list[tuple[str, str]]:
    return [
        (row["alert"], row["status"]) for row in book.database.rows("SELECT * FROM outbox ORDER BY number")
    ]


def states(book: AlertBook, id: str) -> list[str]:
    return [event["state"] for event in book.events(id)]


def test_pending_then_firing_then_resolved(book: AlertBook) -> None:
    rule = threshold(for_s=120)
    (alert,) = book.apply(rule, [sight("active")], [], T)
    assert alert.state is State.PENDING
    assert not outbox(book)
    assert not book.apply(rule, [sight("active")], [], T + 60)
    (fired,) = book.apply(rule, [sight("active")], [], T + 120)
    assert (fired.state, fired.fired_at, fired.active_at) == (State.FIRING, T + 120, T)
    (ended,) = book.apply(rule, [sight("inactive", reason="back")], [], T + 180)
    assert (ended.state, ended.ended_at, ended.reason) == (State.RESOLVED, T + 180, "back")
    assert states(book, alert.id) == ["pending", "firing", "resolved"]
    assert outbox(book) == [(alert.id, "firing"), (alert.id, "resolved")]


def test_what_goes_away_while_pending_tells_nobody(book: AlertBook) -> None:
    rule = threshold(for_s=120)
    (alert,) = book.apply(rule, [sight("active")], [], T)
    book.apply(rule, [sight("inactive")], [], T + 60)
    assert book.alert(alert.id).state is State.INACTIVE
    assert not outbox(book)
    (again,) = book.apply(rule, [sight("active")], [], T + 120)
    assert again.state is State.PENDING
    assert again.id != alert.id


@pytest.mark.parametrize("for_s", [0, 3600])
def test_missing_data_changes_nothing_and_says_so(book: AlertBook, for_s: float) -> None:
    rule = threshold(for_s=for_s)
    (alert,) = book.apply(rule, [sight("active")], [], T)
    for minute in range(1, 10):
        assert not book.apply(rule, [sight("held", reason="12 % of windows missing")], [], T + 60 * minute)
    held = book.alert(alert.id)
    assert (held.state, held.reason) == (alert.state, "held: 12 % of windows missing")
    assert held.seen_at == T
    assert len(states(book, alert.id)) == 1


def test_held_opens_nothing(book: AlertBook) -> None:
    assert not book.apply(threshold(), [sight("held"), sight("superseded"), sight("inactive")], [], T)
    assert not book.open_alerts()


def test_it_keeps_firing_for_a_while(book: AlertBook) -> None:
    rule = threshold(keep_s=300)
    (alert,) = book.apply(rule, [sight("active")], [], T)
    assert not book.apply(rule, [sight("inactive")], [], T + 240)
    assert "kept firing" in book.alert(alert.id).reason
    assert not book.apply(rule, [sight("active")], [], T + 250)
    assert not book.apply(rule, [sight("inactive")], [], T + 500)
    (ended,) = book.apply(rule, [sight("inactive")], [], T + 550)
    assert ended.state is State.RESOLVED


def test_a_rolled_back_version_supersedes(book: AlertBook) -> None:
    (alert,) = book.apply(release(), [sight("active", "slower", version="2")], [], T)
    (ended,) = book.apply(release(), [sight("superseded", "slower", version="2")], [], T + 60)
    assert ended.state is State.SUPERSEDED
    assert outbox(book)[-1] == (alert.id, "resolved")


def test_one_cause_is_one_alert_whichever_node_is_seen(book: AlertBook) -> None:
    rule = release()
    first = sight("active", "slower", node="leaf", version="2", group=("caller",))
    (alert,) = book.apply(rule, [first], [], T)
    same = [
        sight("active", "slower", node="caller", version="2", group=("main",)),
        sight("active", "slower", node="main", version="2"),
        sight("active", "slower", node="leaf", version="2"),
    ]
    for number, each in enumerate(same, 1):
        assert not book.apply(rule, [each], [], T + number)
    assert [each.id for each in book.open_alerts()] == [alert.id]
    other = [
        sight("active", "slower", node="leaf", version="3"),
        sight("active", "slower", node="else", version="2"),
    ]
    assert len(book.apply(rule, other, [], T + 9)) == 2


def test_a_cause_of_its_own_is_not_hidden_by_another_whose_caller_it_is(book: AlertBook) -> None:
    rule = release()
    leaf = sight("active", "slower", node="leaf", version="2", group=("handle", "main"))
    book.apply(rule, [leaf], [], T)
    handle = sight("active", "slower", node="handle", version="2", group=("main",))
    assert len(book.apply(rule, [leaf, handle], [], T + 60)) == 1
    other = sight("active", "slower", node="other", version="2", group=("main",))
    assert len(book.apply(rule, [other], [], T + 120)) == 1
    assert sorted(alert.subject.node for alert in book.open_alerts()) == ["handle", "leaf", "other"]


def test_of_two_sights_of_one_subject_the_first_counts(book: AlertBook) -> None:
    rule = threshold()
    book.apply(rule, [sight("active")], [], T)
    (ended,) = book.apply(rule, [sight("inactive"), sight("active")], [], T + 60)
    assert ended.state is State.RESOLVED
    assert not book.open_alerts()


def test_an_accepted_release_stays_accepted(book: AlertBook) -> None:
    rule = release()
    (alert,) = book.apply(rule, [sight("active", "slower", version="2", group=("caller",))], [], T)
    accepted = book.accept(alert.id, "ann", "the new checksum costs this", T + 60)
    assert accepted.state is State.ACCEPTED
    assert book.events(alert.id)[-1]["author"] == "ann"
    assert outbox(book)[-1] == (alert.id, "resolved")
    again = [sight("active", "slower", version="2"), sight("active", "slower", node="caller", version="2")]
    assert not book.apply(rule, again, [], T + 120)
    assert book.apply(rule, [sight("active", "slower", version="3")], [], T + 180)
    with pytest.raises(InputError, match="has ended already: accepted"):
        book.accept(alert.id, "bob", "", T + 200)
    with pytest.raises(InputError, match="author is missing"):
        book.accept(book.open_alerts()[0].id, " ", "", T + 200)
    with pytest.raises(InputError, match="no alert"):
        book.accept("none", "bob", "", T + 200)


def test_an_accepted_threshold_can_fire_again_after_it_was_back(book: AlertBook) -> None:
    rule = threshold()
    (alert,) = book.apply(rule, [sight("active")], [], T)
    book.accept(alert.id, "ann", "", T + 1)
    assert not book.apply(rule, [sight("active")], [], T + 60)
    assert not book.apply(rule, [sight("inactive")], [], T + 120)
    assert book.apply(rule, [sight("active")], [], T + 180)


def test_alerts_of_removed_rules_end(book: AlertBook) -> None:
    book.apply(threshold(), [sight("active")], [], T)
    book.apply(threshold("other", for_s=60), [sight("active", "other")], [], T)
    assert not book.end_orphans(["hot", "other"], T + 60)
    ended = {alert.subject.rule: alert.state for alert in book.end_orphans([], T + 60)}
    assert ended == {"hot": State.RESOLVED, "other": State.INACTIVE}


def test_labels_hold_identity_only_and_do_not_change(book: AlertBook) -> None:
    (alert,) = book.apply(threshold(), [sight("active")], [], T)
    assert alert.labels == {
        "severity": "page",
        "alertname": "hot",
        "service": "shop",
        "function": "f",
        "fingerprint": alert.subject.fingerprint,
    }
    assert alert.annotations["text"] == "f uses 30 %"
    book.apply(threshold(receivers=()), [sight("active", reason="now 40 %")], [], T + 60)
    later = book.alert(alert.id)
    assert (later.labels, later.receivers) == (alert.labels, ("ops",))
    assert later.annotations["summary"] == "now 40 %"


def test_looks_are_kept_with_what_they_found(book: AlertBook, tmp_path: Path) -> None:
    look = Look("slower", "shop", "2", 1200, "1 regressions", {"tested": 3})
    book.apply(release(), [sight("active", "slower", version="2")], [look], T)
    reopened = open_book(tmp_path)
    assert set(reopened.looks("slower")) == {("shop", "2", 1200)}
    assert reopened.open_alerts() == book.open_alerts()
    reopened.database.close()


def test_pruning_forgets_ended_alerts_only(book: AlertBook) -> None:
    book.apply(threshold(), [sight("active"), sight("active", service="other")], [], T)
    book.apply(threshold(), [sight("inactive", service="other")], [], T + 60)
    book.prune(T + 61)
    assert [alert.subject.service for alert in book.open_alerts()] == ["shop"]
    assert not book.recent(10)
    assert len(outbox(book)) == 1


def test_the_database_itself_refuses_a_second_open_alert(book: AlertBook) -> None:
    (alert,) = book.apply(threshold(), [sight("active")], [], T)
    row = {**dict(book.database.rows("SELECT * FROM alerts")[0]), "id": "x"}
    with pytest.raises(sqlite3.IntegrityError):
        book.database.insert("alerts", row)
    assert book.open_alerts() == [alert]


def test_a_file_of_a_newer_version_or_no_database_is_refused(tmp_path: Path) -> None:
    book = open_book(tmp_path)
    book.database.run("PRAGMA user_version = 99")
    book.database.close()
    with pytest.raises(UnavailableError, match="newer fleetprof"):
        open_book(tmp_path)
    (tmp_path / "else").mkdir()
    (tmp_path / "else/alerts.sqlite3").write_bytes(b"no database at all, but long enough to be read" * 50)
    with pytest.raises(UnavailableError, match="not a database"):
        open_book(tmp_path / "else")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["active", "inactive", "held", "superseded", "accept"]), st.sampled_from("fgh")
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(STEPS, st.sampled_from([0, 100]), st.sampled_from([0, 150]))
def test_whatever_happens_notifications_pair_and_one_alert_is_open(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]], for_s: int, keep_s: int
) -> None:
    book = open_book(tmp_path_factory.mktemp("book"))
    rule = threshold(for_s=for_s, keep_s=keep_s)
    for number, (verdict, node) in enumerate(steps):
        now_s = T + 60 * number
        if verdict == "accept":
            for alert in book.open_alerts()[:1]:
                book.accept(alert.id, "ann", "", now_s)
        else:
            book.apply(rule, [sight(verdict, node=node)], [], now_s)  # type: ignore[arg-type]
        nodes = [alert.subject.node for alert in book.open_alerts()]
        assert len(nodes) == len(set(nodes))
    told: dict[str, list[str]] = {}
    for alert_id, status in outbox(book):
        told.setdefault(alert_id, []).append(status)
    for alert in [*book.open_alerts(), *book.recent(1000)]:
        expected = ["firing"] if alert.state is State.FIRING else ["firing", "resolved"]
        assert told.get(alert.id, []) == (expected if alert.fired_at else [])
    book.database.close()
