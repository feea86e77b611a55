"""Decides whether a call may pass: by its header `authorization: Bearer …`, the same for gRPC and HTTP.

What is refused gets one clear sentence, is counted, and is logged once for each peer and reason. A token's text
is never logged, nor is any part of it.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from enum import StrEnum

from collector.tokens.book import TokenBook
from collector.tokens.token import Scope, Token, proves, split
from fleetprof.tls import day

log = logging.getLogger("fleetprof.tokens")

CURRENT: ContextVar[Token | None] = ContextVar("token", default=None)
"""The token of the call that is being answered; None where none is asked for."""

MAX_PEERS = 10_000
_MAKE = "fleetprof-collector token create"


class Reason(StrEnum):
    """Why a call is refused: the label `reason` of the metric."""

    NONE = "no_token"
    WRONG = "wrong_token"
    REVOKED = "revoked_token"
    EXPIRED = "expired_token"
    SCOPE = "wrong_scope"


class NotAllowed(Exception):
    """The call is refused. `message` is for the caller; `known` is true where only its scope is wrong."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message

    @property
    def known(self) -> bool:
        """Who calls is known, but may not do this (HTTP 403 instead of 401)."""
        return self.reason is Reason.SCOPE


class Gate:
    """Judges calls. Safe to use from several threads."""

    def __init__(self, book: TokenBook, clock: Callable[[], float] = time.time) -> None:
        self.book = book
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[tuple[str, Reason], None] = {}
        self.refused: Counter[Reason] = Counter()
        """Since start."""

    def judge(self, header: str | None, scope: Scope) -> Token:
        """The token of a call with this header that needs `scope`; raises NotAllowed."""
        return self._check(self._known(header, scope), scope)

    def judge_session(self, number: str, scope: Scope) -> Token:
        """The same for a session that began with the token of this id."""
        return self._check(self._found(self.book.find(number)), scope)

    def count(self, refused: NotAllowed, peer: str) -> None:
        """Count a call from `peer` (an address) that was refused, and log it the first time."""
        key = (peer, refused.reason)
        with self._lock:
            self.refused[refused.reason] += 1
            if key in self._told:
                return
            if len(self._told) >= MAX_PEERS:
                del self._told[next(iter(self._told))]
            self._told[key] = None
        log.warning("Refused a call from %s: %s", peer, refused.message)

    def _known(self, header: str | None, scope: Scope) -> Token:
        if not header:
            raise NotAllowed(
                Reason.NONE,
                "This collector asks for a token, and the call has none. "
                f"Make one with `{_MAKE} --scope {scope} NAME` and set it as token_file or token.",
            )
        kind, _, text = header.partition(" ")
        parts = split(text.strip()) if kind.lower() == "bearer" else None
        token = self.book.find(parts[0]) if parts else None
        if not parts or not proves(parts[1], token):
            token = None
        return self._found(token)

    def _found(self, token: Token | None) -> Token:
        if token is None:
            raise NotAllowed(
                Reason.WRONG, f"The token is not one of this collector. Make one with `{_MAKE}`."
            )
        return token

    def _check(self, token: Token, scope: Scope) -> Token:
        if token.revoked_s is not None:
            when = day(token.revoked_s)
            raise NotAllowed(Reason.REVOKED, f'The token "{token.name}" was revoked on {when}.')
        if not token.valid(self._clock()):
            when = day(token.expires_s or 0)
            raise NotAllowed(
                Reason.EXPIRED, f'The token "{token.name}" expired on {when}. Make a new one with `{_MAKE}`.'
            )
        if not token.may(scope):
            has = ", ".join(sorted(token.scopes))
            raise NotAllowed(
                Reason.SCOPE, f'The token "{token.name}" is for {has}; this needs one for {scope}.'
            )
        return token
