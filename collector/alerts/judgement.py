"""What a judge says about a rule, and what it is asked with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from collector.alerts.model import Alert, Look, Sight
from collector.alerts.rules import AnyRule
from collector.query.model import Matcher


@dataclass(frozen=True, slots=True)
class Docket:
    """What is known of a rule before it is judged: its open alerts and the looks already taken."""

    now_s: int
    open_alerts: Sequence[Alert]
    looks: Mapping[tuple[str, str, int], int]
    """(service, version, seconds after first seen) → when it was taken, Unix seconds."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was seen, and the looks that are now done with."""

    sights: Sequence[Sight] = ()
    looks: Sequence[Look] = ()
    held: str = ""
    """Why something could not be judged, for people; "" when all could."""


def with_service(scope: tuple[Matcher, ...], service: str) -> tuple[Matcher, ...]:
    """The scope narrowed to one service."""
    return tuple(dict.fromkeys((*scope, Matcher("service", "=", service))))


class Judge(Protocol):
    """Judges rules of one kind. Raises FleetprofError when the store cannot answer."""

    def judge(self, rule: AnyRule, docket: Docket) -> Judgement:
        """What `rule` says at `docket.now_s`."""
        ...
