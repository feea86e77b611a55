"""The kinds of value a setting can have: how each is written by people, read, and written back.

A kind reads two forms: text (a flag or an environment variable) and what the TOML parser made of a file. Both
raise ValueError with a reason that fits after the value, e.g. "is not a whole number".
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    `from_text` reads a flag or variable; None for kinds that only a file can hold. `from_toml` reads a TOML
    value. `to_toml` writes a value so that `from_toml` reads the same again. `allowed` says in words what may
    be written. `suffix` is added to the setting's name for the field that holds the value: the unit.
    """

    allowed: str
    from_text: Callable[[str], Any] | None
    from_toml: Callable[[Any], Any]
    to_toml: Callable[[Any], str]
    suffix: str = ""
    metavar: str = "VALUE"
    repeats: bool = False
    """The flag may be given several times; its values are joined by commas."""


class Address(NamedTuple):
    """A host name or IP address (IPv6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DURATION_UNITS_S = {
    "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0
}  # fmt: skip
BYTE_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip

_DURATION_PART = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*(ns|us|ms|s|m|h|d|w)(?![a-z])", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d{1,18}\.?\d*|\.\d+)(e[+-]?\d{1,2})?", re.ASCII)
_BYTES = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*([a-z]*)", re.ASCII)


def parse_duration_s(text: str) -> float:
    """Seconds of a duration such as "10s", "250ms" or "1h30m"."""
    parts = _DURATION_PART.findall(text)
    if not parts or _DURATION_PART.sub("", text).strip():
        raise ValueError("is not a duration")
    return sum(float(count) * DURATION_UNITS_S[unit] for count, unit in parts)


def format_duration_s(seconds: float) -> str:
    """The shortest way to write a duration with one unit, e.g. 10.0 → "10s", 86400.0 → "1d"."""
    for unit in ("d", "h", "m", "s", "ms", "us", "ns"):
        size_s = DURATION_UNITS_S[unit]
        count = round(seconds / size_s)
        if count and abs(seconds - count * size_s) < 0.5e-9:
            return f"{count}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def parse_bytes(text: str) -> int:
    """Bytes of a size such as "64 MiB", "1.5GB" or "4096"."""
    match = _BYTES.fullmatch(text.strip().lower())
    if not match or match[2] not in BYTE_UNITS:
        raise ValueError("is not a size in bytes")
    return round(Decimal(match[1]) * BYTE_UNITS[match[2]])


def format_bytes(count: int) -> str:
    """The exact size in the largest binary unit that divides it, e.g. 67108864 → "64 MiB"."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        size = BYTE_UNITS[unit.lower()]
        if count and count % size == 0:
            return f"{count // size} {unit}"
    return f"{count} B"


def about_bytes(count: int) -> str:
    """A size to read: three digits, such as "1.37 GiB"."""
    size, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1000 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"


def parse_address(text: str, lowest_port: int = 1) -> Address:
    """`host:port`; an IPv6 address stands in brackets."""
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host) != bracketed or re.search(r"[\s/\[\]]", host):
        raise ValueError("is not an address")
    if not (port.isascii() and port.isdigit()) or not lowest_port <= int(port) <= 65535:
        raise ValueError(f"does not end in a port from {lowest_port} to 65535")
    return Address(host, int(port))


def quote(text: str) -> str:
    """`text` as a TOML basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a string")
    if re.search(r"[\0\ud800-\udfff]", value):
        raise ValueError("is not valid text")
    return value


def _typed(kind: type, reason: str) -> Callable[[Any], Any]:
    """Take a TOML value of exactly that type (a TOML boolean is no number)."""

    def take(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(reason)
        return value

    return take


def _int(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text.strip(), re.ASCII):
        raise ValueError("is not a whole number")
    return int(text)


def _float(text: str) -> float:
    if not _FLOAT.fullmatch(text.strip().lower()):
        raise ValueError("is not a number")
    return float(text)


def _float_toml(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError("is not a number")
    return _float(repr(value))


_WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


def _bool(text: str) -> bool:
    if text.strip().lower() not in _WORDS:
        raise ValueError("is neither true nor false")
    return _WORDS[text.strip().lower()]


def _items(text: str) -> tuple[str, ...]:
    return tuple(item for part in _string(text).split(",") if (item := part.strip()))


def _items_toml(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("is not a list")
    return tuple(_string(item) for item in value)


def _pairs(text: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in _items(text)]
    if not all(equals and name.strip() for name, equals, _ in pairs):
        raise ValueError("is not a list of name=value")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _pairs_toml(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError("is not a table of name = value")
    return {_string(name): _string(item) for name, item in value.items()}


def _write_pairs(pairs: Mapping[str, str]) -> str:
    inner = ", ".join(f"{quote(name)} = {quote(value)}" for name, value in pairs.items())
    return f"{{ {inner} }}" if inner else "{}"


def _write_items(items: Sequence[str]) -> str:
    return f"[{', '.join(map(quote, items))}]"


def _from_string(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: parse(_string(value))


def _path(text: str) -> Path:
    if not _string(text):
        raise ValueError("is empty")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("starts with the home of an unknown user") from None


def _bytes_toml(value: Any) -> int:
    return parse_bytes(str(value) if type(value) is int else _string(value))


def _listen(text: str) -> Address:
    return parse_address(text, lowest_port=0)


def _or_none(kind: Kind, what: str) -> Kind:
    """The same, or None where the text is empty."""
    from_text = kind.from_text
    assert from_text is not None
    return Kind(
        f"{kind.allowed}; empty: {what}",
        lambda text: from_text(text) if text else None,
        lambda value: None if value == "" else kind.from_toml(value),
        lambda value: kind.to_toml(value) if value is not None else quote(""),
        metavar=kind.metavar,
    )


STR = Kind("a text", _string, _string, quote, metavar="TEXT")
INT = Kind("a whole number", _int, _typed(int, "is not a whole number"), str, metavar="N")
FLOAT = Kind("a number", _float, _float_toml, repr, metavar="N")
BOOL = Kind("true or false", _bool, _typed(bool, "is neither true nor false"), lambda on: str(on).lower())
PATH = Kind("a path", _path, _from_string(_path), lambda path: quote(str(path)), metavar="PATH")
DURATION = Kind(
    'a duration such as "250ms", "10s" or "1h30m"',
    parse_duration_s,
    _from_string(parse_duration_s),
    lambda seconds: quote(format_duration_s(seconds)),
    suffix="_s",
    metavar="DURATION",
)
BYTES = Kind(
    'a size such as "64 MiB" or "1.5 GB"',
    parse_bytes,
    _bytes_toml,
    lambda count: quote(format_bytes(count)),
    suffix="_bytes",
    metavar="SIZE",
)
LIST = Kind("a list of texts", _items, _items_toml, _write_items, metavar="A,B", repeats=True)
PAIRS = Kind("pairs name=value", _pairs, _pairs_toml, _write_pairs, metavar="NAME=VALUE", repeats=True)
ADDRESS = Kind(
    'an address host:port such as "127.0.0.1:4040" or "[::1]:4040"',
    parse_address,
    _from_string(parse_address),
    lambda address: quote(str(address)),
    metavar="HOST:PORT",
)
LISTEN = Kind(
    'an address host:port to listen on, such as "0.0.0.0:4040" (port 0: any free one)',
    _listen,
    _from_string(_listen),
    lambda address: quote(str(address)),
    metavar="HOST:PORT",
)
OPTIONAL_PATH = _or_none(PATH, "none")
OPTIONAL_LISTEN = _or_none(LISTEN, "off")
