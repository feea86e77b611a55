"""Delivery to a real HTTP receiver: at least once, in order, with stable keys, whatever the receiver does."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.alerts.book import AlertBook
from collector.alerts.evidence import node_key
from collector.alerts.outbox import Outbox, backoff_s
from collector.alerts.payloads import alertmanager_body, rfc3339
from collector.alerts.post import DeliveryError, post
from collector.alerts.rules import Receiver as ReceiverRule
from collector.alerts.rules import RuleSet
from collector.alerts.sender import Senders, Target
from collector.query.selector import parse_selector
from fleetprof.errors import InputError
from fleetprof.frames import Frame, FrameKind
from tests.unit.alert_data import T, open_book, sight, threshold
from tests.unit.alert_receiver import Receiver, receiving


@pytest.fixture
def book(tmp_path: Path) -> Iterator[AlertBook]:
    opened = open_book(tmp_path)
    yield opened
    opened.database.close()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def rule_of(kind: str = "webhook", *urls: str, send_resolved: bool = True) -> ReceiverRule:
    return ReceiverRule("ops", kind, urls, None, 30.0, send_resolved)  # type: ignore[arg-type]


def target(book: AlertBook, receiver: ReceiverRule) -> Target:
    return Target(book, receiver, receiver.urls[0], "http://ui")


def fire(book: AlertBook, now_s: int = T, service: str = "shop") -> str:
    return book.apply(threshold(), [sight("active", service=service)], [], now_s)[0].id


def resolve(book: AlertBook, now_s: int = T + 60) -> None:
    book.apply(threshold(), [sight("inactive")], [], now_s)


def work_until_empty(book: AlertBook, work: Callable[[float], float], now_s: float) -> float:
    """Let a target work, jumping to the time it asks for, until nothing waits; the time then."""
    for _ in range(100):
        work(now_s)
        if not Outbox(book).waiting():
            return now_s
        now_s = max(now_s, Outbox(book).next_due("ops", target_url(book)) or now_s)
    raise AssertionError(Outbox(book).waiting())


def target_url(book: AlertBook) -> str:
    return str(book.database.rows("SELECT target FROM deliveries LIMIT 1")[0]["target"])


def test_a_webhook_gets_alertmanagers_shape(book: AlertBook, hook: Receiver) -> None:
    id = fire(book)
    target(book, rule_of("webhook", hook.url)).work(T + 1)
    resolve(book)
    target(book, rule_of("webhook", hook.url)).work(T + 61)
    (_, headers, firing), (_, _, resolved) = hook.got
    assert headers["Idempotency-Key"] == f"{id}-firing"
    assert hook.keys == [f"{id}-firing", f"{id}-resolved"]
    assert (firing["version"], firing["status"], firing["receiver"]) == ("4", "firing", "ops")
    assert firing["externalURL"] == "http://ui"
    (alert,) = firing["alerts"]
    assert alert["labels"] == firing["commonLabels"]
    assert alert["labels"]["alertname"] == "hot"
    assert alert["generatorURL"] == "http://ui/alert"
    assert (alert["startsAt"], alert["endsAt"]) == (rfc3339(T), "0001-01-01T00:00:00Z")
    assert resolved["alerts"][0]["endsAt"] == rfc3339(T + 60)
    assert resolved["groupKey"] == firing["groupKey"]
    assert not Outbox(book).waiting()


def test_nothing_is_sent_twice_when_all_is_well(book: AlertBook, hook: Receiver) -> None:
    fire(book)
    sender = target(book, rule_of("webhook", hook.url))
    for second in range(10):
        sender.work(T + second)
    assert hook.asked == 1


@pytest.mark.parametrize("plan", [[500, 503, 429], ["reset", "reset"], [404, 400], [301, 307]])
def test_a_failing_receiver_gets_all_in_the_end_and_in_order(
    book: AlertBook, hook: Receiver, plan: list[int | str]
) -> None:
    hook.plan = list(plan)
    id = fire(book)
    resolve(book)
    sender = target(book, rule_of("webhook", hook.url))
    done_s = work_until_empty(book, sender.work, T + 61.0)
    distinct = list(dict.fromkeys(hook.keys))
    assert distinct == [f"{id}-firing", f"{id}-resolved"]
    assert hook.keys == sorted(hook.keys)
    assert hook.asked == len(plan) + 2
    assert done_s > T + 61


def test_an_answer_that_is_lost_repeats_the_key(book: AlertBook, hook: Receiver) -> None:
    hook.plan = ["drop", 500, "drop"]
    id = fire(book)
    resolve(book)
    work_until_empty(book, target(book, rule_of("webhook", hook.url)).work, T + 61.0)
    assert hook.keys == [f"{id}-firing"] * 3 + [f"{id}-resolved"]


def test_what_waits_for_an_earlier_notification_is_not_due(book: AlertBook, hook: Receiver) -> None:
    fire(book)
    resolve(book)
    hook.plan = [500]
    next_at = target(book, rule_of("webhook", hook.url)).work(T + 61.0)
    assert T + 61.4 < next_at <= T + 62


def test_a_silent_receiver_times_out(book: AlertBook) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(DeliveryError, match="did not answer in time"):
            post(url, b"{}", "", 0.2, None)
    with pytest.raises(DeliveryError, match="refused"):
        post(url, b"{}", "", 0.2, None)


def test_one_alerts_trouble_does_not_keep_others_waiting(book: AlertBook, hook: Receiver) -> None:
    first = fire(book, service="first")
    hook.plan = [500]
    sender = target(book, rule_of("webhook", hook.url))
    sender.work(T + 0.0)
    second = fire(book, T + 1, service="second")
    sender.work(T + 0.1)
    assert hook.keys == [f"{second}-firing"]
    work_until_empty(book, sender.work, T + 2.0)
    assert hook.keys[-1] == f"{first}-firing"


def test_backoff_grows_to_a_limit_with_jitter() -> None:
    for attempts in range(1, 60):
        delays = {backoff_s(attempts) for _ in range(20)}
        whole = min(2.0 ** (attempts - 1), 300.0)
        assert whole / 2 <= min(delays) < max(delays) <= whole


def test_the_token_is_read_each_time(book: AlertBook, hook: Receiver, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    post(hook.url, b"{}", "", 30, token)
    token.write_text("two\n")
    post(hook.url, b"{}", "", 30, token)
    assert [headers["Authorization"] for _, headers, _ in hook.got] == ["Bearer one", "Bearer two"]
    token.write_text("a\nHost: elsewhere")
    with pytest.raises(DeliveryError, match="not one line"):
        post(hook.url, b"{}", "", 30, token)
    token.unlink()
    with pytest.raises(DeliveryError, match="cannot be read"):
        post(hook.url, b"{}", "", 30, token)


def test_alertmanager_is_told_again_while_it_fires(book: AlertBook, hook: Receiver) -> None:
    fire(book)
    sender = target(book, rule_of("alertmanager", hook.url))
    next_at = sender.work(T)
    sent = len(hook.got)
    sender.work(next_at - 1)
    assert len(hook.got) == sent
    assert next_at - T == 60
    sender.work(next_at)
    assert len(hook.got) == sent + 1
    path, _, (alert,) = hook.got[-1]
    assert path == "/hook/api/v2/alerts"
    assert (alert["startsAt"], alert["endsAt"]) == (rfc3339(T), rfc3339(next_at + 300))
    assert not re.search(r"\d+ %", str(alert["labels"]))
    resolve(book, T + 70)
    sender.work(T + 71)
    assert hook.got[-1][2][0]["endsAt"] == rfc3339(T + 71)
    count = len(hook.got)
    sender.work(T + 200)
    assert len(hook.got) == count


def test_two_urls_each_get_everything(book: AlertBook) -> None:
    with receiving() as one, receiving() as two:
        two.plan = [500]
        receiver = rule_of("webhook", one.url, two.url)
        id = fire(book)
        first, second = (Target(book, receiver, url, "") for url in receiver.urls)
        first.work(T)
        second.work(T)
        assert [row["target"] for row in Outbox(book).waiting()] == [two.url]
        second.work(T + 10)
        assert one.keys == two.keys == [f"{id}-firing"]
        assert not Outbox(book).waiting()
        Target(book, rule_of("webhook", "http://127.0.0.1:1/new"), "http://127.0.0.1:1/new", "").work(T + 20)
        assert not Outbox(book).waiting()  # a URL that is added later is not told of the past


def silence(book: AlertBook, text: str, ends_at: int) -> str:
    return book.silences.add(parse_selector(text), T - 10, ends_at, "ann", "deploy", T - 10).id


def test_silenced_alerts_are_not_told_until_the_silence_ends(book: AlertBook, hook: Receiver) -> None:
    silence(book, 'service="shop"', T + 100)
    id = fire(book)
    other = fire(book, service="other")
    sender = target(book, rule_of("webhook", hook.url))
    sender.work(T)
    assert hook.keys == [f"{other}-firing"]
    sender.work(T + 99)
    assert len(hook.keys) == 1
    sender.work(T + 115)
    assert hook.keys[1:] == [f"{id}-firing"]


def test_what_began_and_ended_in_silence_is_never_told(book: AlertBook, hook: Receiver) -> None:
    silence(book, 'alertname=~"h.*",severity!="ticket"', T + 1000)
    fire(book)
    sender = target(book, rule_of("webhook", hook.url))
    sender.work(T)
    resolve(book)
    sender.work(T + 61)
    sender.work(T + 2000)
    assert not hook.asked
    assert not Outbox(book).waiting()


def test_an_end_is_told_in_silence_to_who_heard_of_the_beginning(book: AlertBook, hook: Receiver) -> None:
    fire(book)
    sender = target(book, rule_of("alertmanager", hook.url))
    sender.work(T)
    silence(book, 'service="shop"', T + 1000)
    count = len(hook.got)
    sender.work(T + 60)
    assert len(hook.got) == count  # not repeated while it is silenced
    resolve(book, T + 70)
    sender.work(T + 71)
    assert len(hook.got) == count + 1


def test_a_receiver_may_do_without_ends(book: AlertBook, hook: Receiver) -> None:
    fire(book)
    resolve(book)
    sender = target(book, rule_of("webhook", hook.url, send_resolved=False))
    work_until_empty(book, sender.work, T + 61.0)
    assert len(hook.keys) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "would silence alerts that have none"),
        ('service=~".*"', "would silence alerts that have none"),
        ('service!="x"', "would silence alerts that have none"),
        ('service="x"', "before it begins"),
    ],
)
def test_silences_that_make_no_sense_are_refused(book: AlertBook, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        book.silences.add(parse_selector(text), T, T, "ann", "why", T)


def test_a_silence_ends_when_told(book: AlertBook) -> None:
    id = silence(book, 'service="shop"', T + 1000)
    assert [each.id for each in book.silences.active(T)] == [id]
    book.silences.expire(id, T + 5)
    assert not book.silences.active(T + 5)
    with pytest.raises(InputError, match="has ended already"):
        book.silences.expire(id, T + 6)
    with pytest.raises(InputError, match="no silence"):
        book.silences.expire("x", T + 6)


def test_names_that_are_not_unicode_can_be_kept_and_sent(book: AlertBook) -> None:
    frame = Frame(FrameKind.NATIVE, "f\udc80", "/lib/a\udcff.so")
    assert node_key(frame) == "native:f\\udc80@a\\udcff.so"
    (alert,) = book.apply(threshold(), [sight("active", node=node_key(frame))], [], T)
    assert book.open_alerts() == [alert]
    assert b"udc80" in alertmanager_body([alert], True, T)


def test_a_target_that_the_rules_know_no_more_leaves_things_to_the_next(
    book: AlertBook, hook: Receiver
) -> None:
    """A sender's thread may be on its way to the outbox while the rules change."""
    fire(book)
    former = target(book, rule_of("webhook", "http://127.0.0.1:1/"))
    former.ended = True
    former.work(T + 1)
    assert not Outbox(book).waiting()[0]["attempts"]
    target(book, rule_of("webhook", hook.url)).work(T + 1)
    assert hook.asked == 1


def test_senders_follow_the_rules(book: AlertBook) -> None:
    with receiving() as one, receiving() as two:
        senders = Senders(book, "", time.time)
        senders.update(RuleSet(receivers=(rule_of("webhook", one.url),)))
        first = fire(book)
        senders.wake()
        wait_for(lambda: one.keys == [f"{first}-firing"])
        wait_for(lambda: not Outbox(book).waiting())  # the receiver has it before the outbox knows
        senders.update(RuleSet(receivers=(rule_of("webhook", two.url),)))
        resolve(book)
        senders.wake()
        wait_for(lambda: two.keys == [f"{first}-resolved"])
        assert len(one.keys) == 1
        senders.stop(60)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("alerts to")]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
