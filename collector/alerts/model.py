"""Alerts as they are kept, and what a judgement says about one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Json = dict[str, Any]


class State(StrEnum):
    """Where an alert is in its life. Only the first two are open; of these a fingerprint has at most one."""

    PENDING = "pending"
    FIRING = "firing"
    INACTIVE = "inactive"
    """Was pending and went away before it fired."""
    RESOLVED = "resolved"
    ACCEPTED = "accepted"
    """A person took the new cost as the baseline."""
    SUPERSEDED = "superseded"
    """The version that it is about runs no more."""

    @property
    def is_open(self) -> bool:
        """True until the alert has ended, in whatever way."""
        return self in (State.PENDING, State.FIRING)


@dataclass(frozen=True, slots=True)
class Subject:
    """What an alert is about. `node` names a function without addresses, so that it outlives rebuilds; "" is
    the service as a whole. `version` is "" where versions do not matter."""

    rule: str
    scope: str
    service: str
    node: str = ""
    version: str = ""

    @property
    def fingerprint(self) -> str:
        """16 hex digits; the same subject has the same one after a restart and on every host."""
        parts = [self.rule, self.scope, self.service, self.node, self.version]
        content = json.dumps(parts, ensure_ascii=True).encode()
        return hashlib.blake2b(content, digest_size=8).hexdigest()


Verdict = Literal["active", "inactive", "held", "superseded"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What one evaluation saw of one subject.

    `held` says that it could not be judged (`reason` says why), which changes no state. `values` fill the
    annotations; `evidence` is what the alert's page shows. `group` are nodes of the same cause: an open alert
    on any of them is this one.
    """

    subject: Subject
    verdict: Verdict
    reason: str = ""
    function: str = ""
    value: float | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    evidence: Json = field(default_factory=dict)
    group: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert from its first sight to its end. Times are Unix seconds; 0 is never."""

    id: str
    """fingerprint-episode: the key under which receivers know it."""
    subject: Subject
    state: State
    kind: str
    function: str
    reason: str
    """The last thing that was said about its state, e.g. why judgement is held."""
    value: float | None
    labels: dict[str, str]
    annotations: dict[str, str]
    evidence: Json
    receivers: tuple[str, ...]
    group: tuple[str, ...]
    active_at: int
    fired_at: int
    ended_at: int
    seen_at: int
    """When its condition was last seen to hold."""
    judged_at: int
    """When it was last judged, held or not."""

    @property
    def starts_at(self) -> int:
        """Since when it fires, or would."""
        return self.fired_at or self.active_at


@dataclass(frozen=True, slots=True)
class Look:
    """One judgement of a release; each is made once a rollout."""

    rule: str
    service: str
    version: str
    look_s: int
    """Seconds after the version was first seen."""
    verdict: str
    funnel: Json = field(default_factory=dict)
