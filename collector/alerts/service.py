"""Alerting as one thing that starts and stops: rules, evaluation, delivery."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from collector.alerts.book import AlertBook
from collector.alerts.database import FILE, Database
from collector.alerts.evaluator import EvaluationLoop, Evaluator, Health, Judges
from collector.alerts.model import Alert
from collector.alerts.outbox import Outbox
from collector.alerts.release_judge import ReleaseJudge
from collector.alerts.rule_watch import RuleWatch
from collector.alerts.sender import Senders
from collector.alerts.threshold_judge import ThresholdJudge
from collector.store.interface import Store

POLL_S = 2.0
"""How often the rules' files are looked at."""
_PRUNE_EVERY_S = 3600


class AlertService:
    """Judges and delivers between `start` and `stop`; the book can be asked and changed all the time."""

    def __init__(
        self,
        data: Path,
        rules: Path | None,
        store: Store,
        interval_s: float,
        keep_s: float,
        ui_url: str = "",
        judges: Judges | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`keep_s`: how long ended alerts are kept. Raises InputError for a mistake in the rules and
        UnavailableError where the file of alerts cannot be used."""
        self.watch = RuleWatch(rules, interval_s)
        self.interval_s = interval_s
        self.ui_url = ui_url
        self.book = AlertBook(Database(data / FILE))
        self.outbox = Outbox(self.book)
        self._keep_s = keep_s
        self._clock = clock
        self._senders = Senders(self.book, ui_url, clock)
        judges = judges or {
            "threshold": ThresholdJudge(store, ui_url),
            "release": ReleaseJudge(store, ui_url),
        }
        self._evaluator = Evaluator(self.book, judges, self._senders.wake)
        self._loop: EvaluationLoop | None = None
        self._polling: threading.Thread | None = None
        self._stopping = threading.Event()
        self._pruned_at = 0

    @property
    def health(self) -> Health:
        """How the last evaluation went."""
        return self._evaluator.health

    @property
    def alive(self) -> bool:
        """False when it was started and judges no more."""
        return self._loop is None or self._loop.alive

    def start(self) -> None:
        """Begin to judge and to deliver."""
        self._senders.update(self.watch.rules)
        self._loop = EvaluationLoop(self.evaluate, self.interval_s, self._clock)
        self._polling = threading.Thread(target=self._poll, name="alert rules", daemon=True)
        self._polling.start()

    def evaluate(self, now_s: int) -> list[Alert]:
        """Judge all rules now; the alerts whose state changed."""
        if now_s - self._pruned_at >= _PRUNE_EVERY_S:
            self.book.prune(int(now_s - self._keep_s))
            self._pruned_at = now_s
        return self._evaluator.evaluate(self.watch.rules, now_s)

    def keep(self, keep_s: float) -> None:
        """Keep ended alerts for so long from now on."""
        self._keep_s = keep_s

    def reload(self) -> None:
        """Read the rules again, changed or not (SIGHUP)."""
        if self.watch.poll(force=True):
            self._senders.update(self.watch.rules)

    def deliver(self) -> None:
        """Look at the outbox now: an alert was accepted, or a silence changed."""
        self._senders.wake()

    def now_s(self) -> int:
        """The time by which alerts are judged."""
        return int(self._clock())

    def stop(self, grace_s: float = 5.0) -> None:
        """End; what is not delivered is delivered after the next start."""
        self._stopping.set()
        if self._loop:
            self._loop.stop(grace_s)
        if self._polling:
            self._polling.join(grace_s)
        self._senders.stop(grace_s)
        self.book.database.close()

    def _poll(self) -> None:
        while not self._stopping.wait(POLL_S):
            if self.watch.poll():
                self._senders.update(self.watch.rules)
