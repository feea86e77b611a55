"""Errors of the store, told apart by ClickHouse's error codes (ClickHouse: src/Common/ErrorCodes.cpp)."""

import re

from fleetprof.errors import UnavailableError

TIMEOUT_EXCEEDED = 159
MEMORY_LIMIT_EXCEEDED = 241
TABLE_ALREADY_EXISTS = 57
UNKNOWN_TABLE = 60
_TOO_LONG = {TIMEOUT_EXCEEDED, 160, 209}
_BUSY = {202, MEMORY_LIMIT_EXCEEDED, 252}  # too many simultaneous queries, memory limit, too many parts
_FULL = {243}  # not enough space

_CODE = re.compile(r"Code: (\d+)")
_NO_SPACE = re.compile(r"No space left on device|errno: 28\b|ENOSPC")


class StoreError(UnavailableError):
    """The database refused or failed; `code` is ClickHouse's, 0 when it gave none."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class QueryTooLong(StoreError):
    """The statement ran into its time limit."""


class StoreBusy(StoreError):
    """The database has no room for the statement now (memory, parts, connections); later may work."""


class StoreFull(StoreError):
    """The disk has no room."""


class StoreAway(StoreError):
    """The server cannot be reached, or the connection broke: what was asked may have happened or not."""


class StoreTaken(StoreError):
    """Another collector has the store, or has taken it over: this one must not write."""


class StoreRefused(StoreError):
    """The server does not let us do this: login, rights, database. Later does not help."""


def parse(text: str) -> StoreError:
    """The typed error for the text of one of ClickHouse's, e.g. "Code: 159. DB::Exception: Timeout ..."."""
    found = _CODE.search(text)
    code = int(found[1]) if found else 0
    reason = _reason(text)
    if code in _FULL or _NO_SPACE.search(text):
        return StoreFull(
            code,
            f"The data folder's disk is full: {reason}",
            "Free space on it, or keep data for fewer days (retention).",
        )
    if code in _TOO_LONG:
        return QueryTooLong(
            code, f"The query took too long: {reason}", "Choose a shorter time range or a narrower selector."
        )
    if code in _BUSY:
        return StoreBusy(
            code, f"The store is busy: {reason}", "Try again, or raise the store's memory limit."
        )
    return StoreError(code, f"The store failed: {reason}")


def _reason(text: str) -> str:
    """The sentence of an error text, without its code, its class and what ClickHouse appends."""
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    line = re.sub(r"^.*?Code: \d+\. ", "", line)
    line = re.sub(r"^(DB::\w*Exception: )+", "", line)
    return line[:500]
