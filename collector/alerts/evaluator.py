"""Judges all rules, one after the other, at aligned times."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from collector.alerts.book import AlertBook
from collector.alerts.judgement import Docket, Judge
from collector.alerts.model import Alert, Sight
from collector.alerts.rules import AnyRule, RuleSet
from fleetprof.errors import FleetprofError

log = logging.getLogger("fleetprof.alerts")

Judges = Mapping[str, Judge]
"""Kind of rule → who judges it."""


@dataclass(frozen=True, slots=True)
class RuleHealth:
    """How the last evaluation of a rule went."""

    judged_at: int
    seconds: float
    held: str = ""
    """What could not be judged, and why."""


@dataclass(slots=True)
class Health:
    """How evaluation goes, for the API."""

    evaluated_at: int = 0
    seconds: float = 0.0
    rules: dict[str, RuleHealth] = field(default_factory=dict)


class Evaluator:
    """One evaluation at a time. `changed` is called after state changes: there may be something to send."""

    def __init__(self, book: AlertBook, judges: Judges, changed: Callable[[], None] = lambda: None) -> None:
        self._book = book
        self._judges = judges
        self._changed = changed
        self.health = Health()

    def evaluate(self, rules: RuleSet, now_s: int) -> list[Alert]:
        """Judge every rule; the alerts whose state changed. Raises sqlite3.Error when nothing can be kept."""
        began = time.monotonic()
        changed = self._book.end_orphans([rule.name for rule in rules.rules], now_s)
        health = {}
        for rule in rules.rules:
            rule_began = time.monotonic()
            now_changed, held = self._apply(rule, now_s)
            changed += now_changed
            health[rule.name] = RuleHealth(now_s, time.monotonic() - rule_began, held)
        self.health = Health(now_s, time.monotonic() - began, health)
        for alert in changed:
            log.info("Alert %s is %s: %s", alert.labels.get("alertname"), alert.state, alert.reason)
        if changed:
            self._changed()
        return changed

    def _apply(self, rule: AnyRule, now_s: int) -> tuple[list[Alert], str]:
        """Judge one rule and keep what follows: (alerts whose state changed, what is held)."""
        docket = Docket(now_s, self._book.open_alerts(rule.name), self._book.looks(rule.name))
        try:
            judgement = self._judges[rule.kind].judge(rule, docket)
            return self._book.apply(rule, judgement.sights, judgement.looks, now_s), judgement.held
        except FleetprofError as error:
            reason = error.message
            log.warning("Rule %s could not be judged: %s", rule.name, reason)
        except (ArithmeticError, LookupError, ValueError) as error:
            # A fault in one rule's figures must not keep the others from being judged.
            reason = f"a fault of fleetprof: {error!r}"
            log.exception("Rule %s could not be judged.", rule.name)
        held = [Sight(alert.subject, "held", reason) for alert in docket.open_alerts]
        return self._book.apply(rule, held, [], now_s), reason


class EvaluationLoop:
    """Calls `evaluate` at whole multiples of `interval_s`, on a thread of its own."""

    def __init__(
        self,
        evaluate: Callable[[int], object],
        interval_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._evaluate = evaluate
        self._interval_s = interval_s
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False once nothing is judged any more."""
        return self._thread.is_alive()

    def stop(self, grace_s: float) -> None:
        """End after the evaluation under way."""
        self._stopping.set()
        self._thread.join(grace_s)

    def _run(self) -> None:
        while not self._stopping.wait(self._until_next()):
            try:
                self._evaluate(int(self._clock()))
            except sqlite3.Error as error:
                if self._stopping.is_set():  # the file was closed
                    return
                log.error("The alerts' file fails, trying again at the next evaluation: %s", error)

    def _until_next(self) -> float:
        now = self._clock()
        return self._interval_s - now % self._interval_s
