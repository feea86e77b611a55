"""What a token is: a name, scopes, an end; and the text that stands for it.

The text is `fpt_`, 8 hex digits that name the token, `_`, and 64 hex digits that prove it: 256 bits from the
kernel. Only their SHA-256 is kept. A slow or salted hash would add nothing: those exist for passwords, which
can be guessed, and 2^256 values cannot; and a check happens at each call.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

from fleetprof.tls import day

_TEXT = re.compile(r"fpt_([0-9a-f]{8})_([0-9a-f]{64})")
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).digest()


class Scope(StrEnum):
    """What a token is good for."""

    INGEST = "ingest"
    """To push profiles, and to register as an agent."""
    READ = "read"
    """To see pages and ask the API."""
    ADMIN = "admin"
    """To change things (silences, baselines, debug files), and all of the above."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept. Times are Unix seconds; None for never."""

    id: str
    name: str
    digest: bytes
    scopes: frozenset[Scope]
    created_s: int
    expires_s: int | None = None
    revoked_s: int | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it is good for `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def state(self, now_s: float) -> str:
        """Such as "valid", "revoked on 2026-11-19"."""
        if self.revoked_s is not None:
            return f"revoked on {day(self.revoked_s)}"
        if self.expires_s is None:
            return "valid"
        return f"{'expired on' if now_s >= self.expires_s else 'valid until'} {day(self.expires_s)}"

    def valid(self, now_s: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)


def make_text() -> tuple[str, str, bytes]:
    """(text, id, digest) of a new token."""
    number, proof = secrets.token_hex(4), secrets.token_hex(32)
    return f"fpt_{number}_{proof}", number, digest_of(proof)


def digest_of(proof: str) -> bytes:
    """What is kept of a token's secret part."""
    return hashlib.sha256(proof.encode("ascii")).digest()


def split(text: str) -> tuple[str, str] | None:
    """(id, secret part) of a token's text; None for what is no token."""
    found = _TEXT.fullmatch(text)
    return (found[1], found[2]) if found else None


def proves(proof: str, token: Token | None) -> bool:
    """Whether `proof` is the token's secret part; takes as long for a token that is not there (None)."""
    return hmac.compare_digest(digest_of(proof), token.digest if token else _NOBODY) and token is not None
