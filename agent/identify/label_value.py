"""Makes text from the outside fit for a label: printable, valid UTF-8, bounded."""

from fleetprof.series import MAX_LABEL_VALUE_BYTES

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    """`text` with each unprintable character (control, surrogate, bidirectional override, NUL) replaced by
    U+FFFD, without surrounding blanks, cut to MAX_LABEL_VALUE_BYTES of UTF-8 at a character's boundary.

    A character is at least one byte, so no more than that many are looked at, however long the text is.
    """
    head = text[:MAX_LABEL_VALUE_BYTES].strip()
    if not head.isprintable():
        head = "".join(char if char.isprintable() else _REPLACEMENT for char in head)
    return head.strip().encode()[:MAX_LABEL_VALUE_BYTES].decode("utf-8", "ignore").strip()
