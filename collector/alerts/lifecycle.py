"""What a sight does to an alert: a pure function of the alert, the sight, the rule and the time.

inactive → pending → firing → resolved | accepted | superseded. Missing data changes nothing: `held` keeps the
state and only says why. What a person decides (accepted) is done in book.py.
"""

from dataclasses import dataclass

from collector.alerts.model import Alert, Sight, State
from collector.alerts.rules import AnyRule


@dataclass(frozen=True, slots=True)
class Step:
    """The state that follows, and why. `opens` where there was no open alert before."""

    state: State
    reason: str
    opens: bool = False


def next_step(alert: Alert | None, sight: Sight, rule: AnyRule, now_s: int) -> Step | None:
    """The step that `sight` leads to; None where there is no open alert and none is to be opened."""
    if alert is None:
        return _open(sight, rule)
    if sight.verdict == "held":
        return Step(alert.state, f"held: {sight.reason}")
    if sight.verdict == "superseded":
        ended = State.SUPERSEDED if alert.state is State.FIRING else State.INACTIVE
        return Step(ended, sight.reason)
    if sight.verdict == "active":
        return _go_on(alert, sight, rule, now_s)
    return _go_away(alert, sight, rule, now_s)


def _open(sight: Sight, rule: AnyRule) -> Step | None:
    if sight.verdict != "active":
        return None
    state = State.PENDING if rule.for_s > 0 else State.FIRING
    return Step(state, sight.reason, opens=True)


def _go_on(alert: Alert, sight: Sight, rule: AnyRule, now_s: int) -> Step:
    if alert.state is State.PENDING and now_s - alert.active_at >= rule.for_s:
        return Step(State.FIRING, sight.reason)
    return Step(alert.state, sight.reason)


def _go_away(alert: Alert, sight: Sight, rule: AnyRule, now_s: int) -> Step:
    if alert.state is State.PENDING:
        return Step(State.INACTIVE, sight.reason)
    if now_s - alert.seen_at < rule.keep_firing_for_s:
        return Step(State.FIRING, f"over, but kept firing: {sight.reason}")
    return Step(State.RESOLVED, sight.reason)
