"""Times as foreign clients write them."""

import re
from datetime import UTC, datetime

from fleetprof.errors import InputError

_DIGITS = re.compile(r"[0-9]{1,19}(\.[0-9]{1,9})?")
_LARGEST_NS = 2**63 - 1


def parse_ns(text: str, name: str) -> int:
    """Unix nanoseconds of Unix seconds, milli-, micro- or nanoseconds (told by their size) or of ISO 8601.

    Times relative to now are refused: the same request sent again would be of another time, and count twice.
    """
    if _DIGITS.fullmatch(text):
        whole, _, part = text.partition(".")
        factor = next(factor for factor in (10**9, 10**6, 10**3, 1) if int(whole) * factor < 10**20)
        factor = factor if int(whole) * factor <= _LARGEST_NS else 1
        return min(int(whole) * factor + int(float(f"0.{part or 0}") * factor), _LARGEST_NS)
    try:
        found = datetime.fromisoformat(text)
        return max(int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 10**9), 0)
    except (ValueError, OverflowError):
        raise InputError(
            f"{name} is not understood: {text[:80]!r}. Give Unix seconds or a time such as "
            "2026-11-19T09:00:00Z."
        ) from None
