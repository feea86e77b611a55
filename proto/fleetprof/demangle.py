"""Readable names for C++ and Rust symbols. A name that does not demangle stays as it is.

Names come from files that anybody may write, so work is bounded: 200 bytes of C++ can stand for gigabytes of
text through nested substitutions, and would take the agent down.
"""

import re
from functools import lru_cache

import cxxfilt

from fleetprof.demangle_rust import demangle_rust, is_rust
from fleetprof.frames import FrameKind

MAX_NAME_BYTES = 1024
MAX_BACK_REFERENCES = 24
"""k references can multiply a text by e^(k/e) at most: 24 → 7,000. One in 2,000 of LLVM's has more."""

_BACK_REFERENCE = re.compile(r"[ST][0-9A-Z]*_")
_VERSION = re.compile(r"@@?[A-Za-z0-9_.]*\Z")
_BUILD_SUFFIX = re.compile(r"\.llvm\.[0-9]+\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def shorten(name: str) -> str:
    """`name` without control characters, cut to MAX_NAME_BYTES of UTF-8 and then marked with "…"."""
    name = _CONTROL.sub("?", name)
    data = name.encode("utf-8", "replace")
    if len(data) <= MAX_NAME_BYTES:
        return data.decode("utf-8")
    return data[: MAX_NAME_BYTES - 3].decode("utf-8", "ignore") + "…"


@lru_cache(maxsize=8192)
def readable(symbol: str) -> tuple[str, FrameKind]:
    """(name for people, RUST or NATIVE) of an ELF symbol; symbol versions (`@@GLIBC_2.2`) are dropped."""
    symbol = _BUILD_SUFFIX.sub("", _VERSION.sub("", symbol) or symbol)
    if len(symbol) <= MAX_NAME_BYTES and is_rust(symbol) and (name := demangle_rust(symbol)) != symbol:
        return shorten(name), FrameKind.RUST
    return shorten(_demangle_cxx(symbol)), FrameKind.NATIVE


def _demangle_cxx(symbol: str) -> str:
    if not symbol.startswith("_Z") or len(symbol) > MAX_NAME_BYTES:
        return symbol
    if len(_BACK_REFERENCE.findall(symbol)) > MAX_BACK_REFERENCES:
        return symbol
    try:
        demangled: bytes = cxxfilt.demangleb(symbol.encode("utf-8", "replace"))
    except (cxxfilt.Error, ValueError):
        return symbol
    return demangled.decode("utf-8", "replace")
