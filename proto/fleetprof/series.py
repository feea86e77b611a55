"""Series: one set of labels, and its 64-bit identity.

Label names are `[a-zA-Z_][a-zA-Z0-9_]*` as in Prometheus. An empty value is the same as an absent label, so
it is left out of the identity. The identity is BLAKE2b with an 8-byte digest over the sorted pairs, each
string length-prefixed.
"""

import hashlib
import re
import struct
from collections.abc import Mapping

KNOWN_LABELS = (
    "host",
    "service",
    "version",
    "environment",
    "region",
    "namespace",
    "pod",
    "container",
    "process",
    "thread",
    "wait",
)
"""Labels that every store keeps in a column of their own; others are free labels."""

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}\Z")
MAX_LABEL_VALUE_BYTES = 1024

WAIT_CLASSES = (
    "other",
    "futex",
    "poll",
    "sleep",
    "read",
    "write",
    "fault",
    "kernel",
)
"""Why a thread is blocked: the value of the label `wait` of offcpu series, by system call class.

`fault`: blocked without a system call (page fault, stop signal); `kernel`: a kernel thread. The scheduler
program numbers them 0..7 in this order, and adds 8 when the wait cannot be interrupted (state D)."""


def wait_label(wait_class: int) -> str:
    """The `wait` label of a scheduler wait class 0..15, e.g. 4 → "read", 12 → "read:uninterruptible"."""
    name = WAIT_CLASSES[wait_class & 7]
    return f"{name}:uninterruptible" if wait_class & 8 else name


def canonical(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The pairs that make up a series' identity: sorted by name, empty values left out."""
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def series_id(labels: Mapping[str, str]) -> int:
    """The 64-bit identity of a set of labels; never 0."""
    content = b"".join(_field(text) for pair in canonical(labels) for text in pair)
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little") or 1


def _field(text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    return struct.pack("<I", len(data)) + data
