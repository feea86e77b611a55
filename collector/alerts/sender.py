"""Delivers the outbox: one thread a target, at least once, with backoff; firing alerts again and again to
Alertmanager, which forgets what is not repeated."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable

from collector.alerts.book import AlertBook
from collector.alerts.model import Alert, State
from collector.alerts.outbox import Notification, Outbox
from collector.alerts.payloads import RESEND_S, alertmanager_body, webhook_body
from collector.alerts.post import DeliveryError, post
from collector.alerts.rules import Receiver, RuleSet

log = logging.getLogger("fleetprof.alerts")

SILENCE_LOOK_S = 15.0
"""How often a silenced notification is looked at again."""
_IDLE_S = 3600.0
_RESEND_BATCH = 200


class Target:
    """One URL of a receiver. `work` does what is due; the thread around it is `Senders`'."""

    def __init__(self, book: AlertBook, receiver: Receiver, url: str, ui_url: str) -> None:
        self.receiver = receiver
        self.url = url
        self._ui_url = ui_url
        self._book = book
        self._outbox = Outbox(book)
        self._beat_at = 0.0
        self.ended = False
        """True when the rules know it no more: nothing is taken on, so that it is left to who comes after."""

    def work(self, now_s: float) -> float:
        """Send what is due; the Unix time at which there is more to do."""
        name, url = self.receiver.name, self.url
        for notification in self._outbox.due(name, url, now_s):
            if self.ended:  # asked after `due`: what was queued since belongs to others
                return now_s
            self._handle(notification, now_s)
        if self.receiver.kind == "alertmanager" and now_s >= self._beat_at and not self.ended:
            self._beat_at = now_s + self._resend(now_s)
        next_at = self._outbox.next_due(name, url)
        beat_at = self._beat_at if self.receiver.kind == "alertmanager" else now_s + _IDLE_S
        return min(beat_at, now_s + _IDLE_S if next_at is None else next_at)

    def _handle(self, notification: Notification, now_s: float) -> None:
        if self._is_muted(notification, now_s):
            return
        try:
            self._post(notification, now_s)
        except DeliveryError as error:
            delay_s = self._outbox.failed(notification, self.url, str(error), now_s)
            log.warning(
                "Receiver %s (%s) did not take the alert %s: %s. Tried again in %.0f s.",
                self.receiver.name, self.url, notification.alert.id, error, delay_s,
            )  # fmt: skip
        else:
            self._done(notification, "sent", now_s)

    def _is_muted(self, notification: Notification, now_s: float) -> bool:
        """True when there is nothing to send now: silenced, or the receiver never heard of it."""
        alert, firing = notification.alert, notification.status == "firing"
        if not firing:
            unheard = self._outbox.outcome(alert.id, self.receiver.name, self.url) == "silenced"
            if unheard or not self.receiver.send_resolved:
                self._done(notification, "silenced" if unheard else "not wanted", now_s)
                return True
            return False
        if not self._silenced(alert, now_s):
            return False
        if alert.state is State.FIRING:
            self._outbox.hold(notification, self.url, now_s + SILENCE_LOOK_S, "silenced")
        else:
            self._done(notification, "silenced", now_s)
        return True

    def _post(self, notification: Notification, now_s: float) -> None:
        alert, receiver = notification.alert, self.receiver
        if receiver.kind == "alertmanager":
            self._post_alerts([alert], notification.status == "firing", notification.key, now_s)
            return
        body = webhook_body(alert, notification.status, receiver.name, self._ui_url)
        post(self.url, body, notification.key, receiver.timeout_s, receiver.bearer_token_file)

    def _resend(self, now_s: float) -> float:
        """Tell Alertmanager all that fires; the seconds until the next time."""
        alerts = [
            alert
            for alert in self._outbox.told_firing(self.receiver.name)
            if not self._silenced(alert, now_s)
        ]
        try:
            for start in range(0, len(alerts), _RESEND_BATCH):
                self._post_alerts(alerts[start : start + _RESEND_BATCH], True, "", now_s)
        except DeliveryError as error:
            log.warning("Alertmanager at %s did not take what fires: %s.", self.url, error)
            return RESEND_S / 4
        return RESEND_S

    def _post_alerts(self, alerts: list[Alert], firing: bool, key: str, now_s: float) -> None:
        url = f"{self.url.rstrip('/')}/api/v2/alerts"
        body = alertmanager_body(alerts, firing, now_s)
        post(url, body, key, self.receiver.timeout_s, self.receiver.bearer_token_file)

    def _silenced(self, alert: Alert, now_s: float) -> bool:
        return any(silence.matches(alert.labels) for silence in self._book.silences.active(now_s))

    def _done(self, notification: Notification, outcome: str, now_s: float) -> None:
        self._outbox.done(notification, self.url, self.receiver.urls, outcome, now_s)


class _Thread:
    """A target and the thread that works for it."""

    def __init__(self, target: Target, clock: Callable[[], float]) -> None:
        self.target = target
        self._clock = clock
        self.wake = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"alerts to {target.url}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.target.ended:
            try:
                next_at = self.target.work(self._clock())
            except sqlite3.Error as error:
                if self.target.ended:  # the file was closed
                    return
                log.error("The alerts' file fails, trying again: %s", error)
                next_at = self._clock() + 10.0
            # Not below a tenth of a second: a clock that was set back must not make this spin.
            self.wake.wait(min(max(next_at - self._clock(), 0.1), _IDLE_S))
            self.wake.clear()


class Senders:
    """The threads of all targets; `update` follows the rules."""

    def __init__(self, book: AlertBook, ui_url: str, clock: Callable[[], float] = time.time) -> None:
        self._book = book
        self._ui_url = ui_url
        self._clock = clock
        self._lock = threading.Lock()
        self._threads: dict[tuple[Receiver, str], _Thread] = {}

    def update(self, rules: RuleSet) -> None:
        """Have a thread for each URL of the rules' receivers, and no other."""
        wanted = {(receiver, url) for receiver in rules.receivers for url in receiver.urls}
        with self._lock:
            self._end([key for key in self._threads if key not in wanted], grace_s=0.0)
            for receiver, url in wanted - self._threads.keys():
                target = Target(self._book, receiver, url, self._ui_url)
                self._threads[receiver, url] = _Thread(target, self._clock)
        Outbox(self._book).give_up_orphans([r.name for r in rules.receivers], self._clock())

    def wake(self) -> None:
        """Something new is in the outbox, or a silence has changed."""
        with self._lock:
            for thread in self._threads.values():
                thread.wake.set()

    def stop(self, grace_s: float) -> None:
        """End all threads; what is not delivered stays in the outbox."""
        with self._lock:
            self._end(list(self._threads), grace_s)

    def _end(self, keys: list[tuple[Receiver, str]], grace_s: float) -> None:
        ended = [self._threads.pop(key) for key in keys]
        for thread in ended:
            thread.target.ended = True
            thread.wake.set()
        deadline = time.monotonic() + grace_s
        for thread in ended:
            thread.thread.join(max(deadline - time.monotonic(), 0.0))
