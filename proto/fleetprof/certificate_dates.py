"""When an X.509 certificate is valid, read from its DER form (RFC 5280, 4.1; X.690, 8.1 and 11.7).

The standard library tells the dates of a peer's certificate only, and an agent host has no further library.
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple

_SEQUENCE, _CONTEXT_0, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_FORMATS = {
    _UTC_TIME: (re.compile(rb"\d{12}Z"), "%y%m%d%H%M%SZ"),
    _GENERALIZED_TIME: (re.compile(rb"\d{14}Z"), "%Y%m%d%H%M%SZ"),
}


class _Element(NamedTuple):
    """A DER element: its tag, and where in the data its content starts and ends."""

    tag: int
    start: int
    end: int


def validity_s(der: bytes) -> tuple[float, float]:
    """(not before, not after) in Unix seconds; raises ValueError for what is no certificate."""
    certificate = _element(der, 0, len(der), _SEQUENCE)
    signed = _element(der, certificate.start, certificate.end, _SEQUENCE)
    at = signed.start
    version = _element(der, at, signed.end)
    if version.tag == _CONTEXT_0:
        at = version.end
    for _ in ("serialNumber", "signature", "issuer"):
        at = _element(der, at, signed.end).end
    validity = _element(der, at, signed.end, _SEQUENCE)
    not_before = _element(der, validity.start, validity.end)
    not_after = _element(der, not_before.end, validity.end)
    return _time(der, not_before), _time(der, not_after)


def _element(der: bytes, at: int, limit: int, tag: int | None = None) -> _Element:
    """The element at `at`, which ends at `limit` at the latest; raises ValueError."""
    if at + 2 > limit:
        raise ValueError("the data ends inside a certificate")
    found, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or start + count > limit:
            raise ValueError("a length is not understood")
        length = int.from_bytes(der[start : start + count], "big")
        start += count
    if start + length > limit:
        raise ValueError("an element is longer than what holds it")
    if tag is not None and found != tag:
        raise ValueError(f"tag {found:#x} stands where {tag:#x} should")
    return _Element(found, start, start + length)


def _time(der: bytes, element: _Element) -> float:
    pattern, form = _FORMATS.get(element.tag, (None, ""))
    text = der[element.start : element.end]
    if pattern is None or not pattern.fullmatch(text):
        raise ValueError("a date is not understood")
    moment = datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)
    if element.tag == _UTC_TIME and moment.year >= 2050:  # RFC 5280, 4.1.2.5.1; strptime's pivot is 1969
        moment = moment.replace(year=moment.year - 100)
    return moment.timestamp()
