"""Rust symbol names: the legacy mangling and v0 (RFC 2603), printed without hashes.

Own code because the names are untrusted: the PyPI demangler loops for ever on `G` binders, needs exponential
time for nested back references, and misprints legacy paths after their last escape. Here a name may take
MAX_STEPS steps and print MAX_OUTPUT characters; past either it stays mangled.
Grammar: https://doc.rust-lang.org/rustc/symbol-mangling/v0.html
"""

import re
from collections.abc import Callable

MAX_STEPS = 4096
MAX_OUTPUT = 4096
MAX_DEPTH = 96

_LEGACY = re.compile(r"_ZN(?P<path>.+)17h[0-9a-f]{16}E(?P<suffix>\.[\w.$]*)?\Z")
_ESCAPES = {"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ","}
_ESCAPE = re.compile(r"\$(SP|BP|RF|LT|GT|LP|RP|C|u[0-9a-f]{1,5})\$|\.\.")
_BASIC = {
    **{"a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize"},
    **{"j": "usize", "l": "i32", "m": "u32", "n": "i128", "o": "u128", "p": "_", "s": "i16", "t": "u16"},
    **{"u": "()", "v": "...", "x": "i64", "y": "u64", "z": "!"},
}


class _Malformed(Exception):
    """Not a v0 name, or one that is too expensive."""


def is_rust(symbol: str) -> bool:
    """Whether `symbol` is a mangled Rust name (legacy names are told from C++ by their hash)."""
    return (symbol.startswith("_R") and symbol[2:3].isupper()) or _LEGACY.match(symbol) is not None


def demangle_rust(symbol: str) -> str:
    """The path of a Rust symbol; `symbol` itself when it cannot be demangled."""
    if symbol.startswith("_R"):
        try:
            return _V0(symbol.partition(".")[0][2:]).demangle()
        except (_Malformed, IndexError, RecursionError):
            return symbol
    match = _LEGACY.match(symbol)
    return _legacy_path(match["path"]) or symbol if match else symbol


def _legacy_path(path: str) -> str:
    """`4core3fmt5write` → `core::fmt::write`; "" when malformed."""
    parts, position = [], 0
    while position < len(path):
        digits = re.compile(r"[0-9]{1,4}").match(path, position)
        if not digits:
            return ""
        position = digits.end() + int(digits[0])
        part = path[digits.end() : position]
        if position > len(path):
            return ""
        parts.append(_ESCAPE.sub(_unescape, part.removeprefix("_") if part.startswith("_$") else part))
    return "::".join(parts)


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if code is None:
        return "::"
    if code in _ESCAPES:
        return _ESCAPES[code]
    number = int(code[1:], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "?"


class _V0:
    """One v0 name being printed. `text` is the name after `_R`; back references count from there."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._out: list[str] = []
        self._length = 0
        self._steps = 0
        self._depth = 0
        self._lifetimes = 0

    def demangle(self) -> str:
        """The printed path; what may follow it is the path of the crate that asked for a generic function."""
        self._path(in_value=True)
        if not self._length or not (self._text[self._at :] or "C")[0].isupper():
            raise _Malformed
        return "".join(self._out)

    def _print(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_OUTPUT:
            raise _Malformed
        self._out.append(text)

    def _next(self) -> str:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _Malformed
        self._at += 1
        return self._text[self._at - 1]

    def _eat(self, tag: str) -> bool:
        if self._text[self._at : self._at + 1] != tag:
            return False
        self._at += 1
        return True

    def _nested(self, part: Callable[[], object]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Malformed
        part()
        self._depth -= 1

    def _base_62(self) -> int:
        digits = ""
        while not self._eat("_"):
            digits += self._next()
            if not digits[-1].isalnum() or len(digits) > 12:
                raise _Malformed
        value = 0
        for digit in digits:
            offset = 48 if digit.isdigit() else 87 if digit.islower() else 29
            value = value * 62 + ord(digit) - offset
        return value + 1 if digits else 0

    def _optional_base_62(self, tag: str) -> int:
        return self._base_62() + 1 if self._eat(tag) else 0

    def _identifier(self) -> tuple[str, int]:
        """(name, disambiguator)."""
        disambiguator = self._optional_base_62("s")
        punycode = self._eat("u")
        digits = ""
        while self._text[self._at : self._at + 1].isdigit() and digits != "0":
            digits += self._next()
        if not digits or len(digits) > 4:
            raise _Malformed
        self._eat("_")
        name = self._text[self._at : self._at + int(digits)]
        self._at += int(digits)
        if len(name) != int(digits):
            raise _Malformed
        return (_punycode(name) if punycode else name), disambiguator

    def _back_reference(self, part: Callable[[], object]) -> None:
        start = self._at - 1
        target = self._base_62()
        if target >= start:
            raise _Malformed
        after, self._at = self._at, target
        self._nested(part)
        self._at = after

    def _path(self, in_value: bool) -> None:
        self._nested(lambda: self._path_by_tag(self._next(), in_value))

    def _path_by_tag(self, tag: str, in_value: bool) -> None:
        if tag == "C":
            self._print(self._identifier()[0])
        elif tag == "N":
            self._nested_path(self._next(), in_value)
        elif tag in "MX":
            self._skipped_impl_path()
            self._qualified(with_trait=tag == "X")
        elif tag == "Y":
            self._qualified(with_trait=True)
        elif tag == "I":
            self._path(in_value)
            self._print("::<" if in_value else "<")
            self._list(self._generic_argument, ", ")
            self._print(">")
        elif tag == "B":
            self._back_reference(lambda: self._path(in_value))
        else:
            raise _Malformed

    def _nested_path(self, namespace: str, in_value: bool) -> None:
        self._path(in_value)
        name, disambiguator = self._identifier()
        if namespace.isupper():
            kind = {"C": "closure", "S": "shim"}.get(namespace, namespace)
            self._print(f"::{{{kind}{':' if name else ''}{name}#{disambiguator}}}")
        elif name:
            self._print(f"::{name}")

    def _skipped_impl_path(self) -> None:
        """The path of an `impl` block itself is not shown: `<T as Trait>` says it."""
        self._optional_base_62("s")
        kept, length = len(self._out), self._length
        self._path(in_value=False)
        del self._out[kept:]
        self._length = length

    def _qualified(self, with_trait: bool) -> None:
        self._print("<")
        self._type()
        if with_trait:
            self._print(" as ")
            self._path(in_value=False)
        self._print(">")

    def _list(self, item: Callable[[], object], separator: str) -> int:
        count = 0
        while not self._eat("E"):
            if count:
                self._print(separator)
            item()
            count += 1
        return count

    def _generic_argument(self) -> None:
        if self._eat("L"):
            self._lifetime(self._base_62())
        elif self._eat("K"):
            self._constant()
        else:
            self._type()

    def _lifetime(self, index: int) -> None:
        if not index:
            self._print("'_")
            return
        depth = self._lifetimes - index
        if depth < 0:
            raise _Malformed
        self._print(f"'{chr(97 + depth)}" if depth < 26 else f"'_{depth}")

    def _type(self) -> None:
        self._nested(lambda: self._type_by_tag(self._next()))

    def _type_by_tag(self, tag: str) -> None:
        if tag in _BASIC:
            self._print(_BASIC[tag])
        elif tag in "RQ":
            self._reference(tag == "Q")
        elif tag in "PO":
            self._print("*const " if tag == "P" else "*mut ")
            self._type()
        elif tag in "AS":
            self._print("[")
            self._type()
            if tag == "A":
                self._print("; ")
                self._constant()
            self._print("]")
        elif tag == "T":
            self._print("(")
            self._print(",)" if self._list(self._type, ", ") == 1 else ")")
        elif tag == "F":
            self._binder(self._function)
        elif tag == "D":
            self._trait_object()
        elif tag == "B":
            self._back_reference(self._type)
        else:
            self._at -= 1
            self._path(in_value=False)

    def _reference(self, mutable: bool) -> None:
        self._print("&")
        if self._eat("L") and (index := self._base_62()):
            self._lifetime(index)
            self._print(" ")
        if mutable:
            self._print("mut ")
        self._type()

    def _binder(self, body: Callable[[], object]) -> None:
        bound = self._optional_base_62("G")
        if bound > 64:
            raise _Malformed
        self._lifetimes += bound
        if bound:
            self._print("for<")
            for index in range(bound, 0, -1):
                self._lifetime(index)
                self._print(", " if index > 1 else "> ")
        body()
        self._lifetimes -= bound

    def _function(self) -> None:
        if self._eat("U"):
            self._print("unsafe ")
        if self._eat("K"):
            abi = "C" if self._eat("C") else self._identifier()[0].replace("_", "-")
            self._print(f'extern "{abi}" ')
        self._print("fn(")
        self._list(self._type, ", ")
        self._print(")")
        if not self._eat("u"):
            self._print(" -> ")
            self._type()

    def _trait_object(self) -> None:
        self._print("dyn ")
        self._binder(lambda: self._list(self._dyn_trait, " + "))
        if not self._eat("L"):
            raise _Malformed
        if index := self._base_62():
            self._print(" + ")
            self._lifetime(index)

    def _dyn_trait(self) -> None:
        """A path whose generic list stays open for associated types: `Iterator<Item = u8>`."""
        is_open = self._open_path()
        while self._eat("p"):
            self._print(", " if is_open else "<")
            is_open = True
            self._print(self._identifier()[0] + " = ")
            self._type()
        if is_open:
            self._print(">")

    def _open_path(self) -> bool:
        if self._eat("B"):
            opened: list[bool] = []
            self._back_reference(lambda: opened.append(self._open_path()))
            return opened[0]
        if not self._eat("I"):
            self._path(in_value=False)
            return False
        self._path(in_value=False)
        self._print("<")
        self._list(self._generic_argument, ", ")
        return True

    def _constant(self) -> None:
        tag = self._next()
        if tag == "p":
            self._print("_")
        elif tag == "B":
            self._back_reference(self._constant)
        elif tag in "abchijlmnostxy":
            self._print(self._literal(tag))
        else:
            raise _Malformed

    def _literal(self, tag: str) -> str:
        sign = "-" if self._eat("n") else ""
        digits = ""
        while not self._eat("_"):
            digits += self._next()
            if digits[-1] not in "0123456789abcdef" or len(digits) > 32:
                raise _Malformed
        value = int(digits or "0", 16)
        if tag == "b":
            return "true" if value else "false"
        if tag == "c":
            return repr(chr(value)) if value < 0x110000 else "'?'"
        return f"{sign}{value}"


def _punycode(name: str) -> str:
    ascii_part, _, encoded = name.rpartition("_")
    try:
        return f"{ascii_part}-{encoded}".encode("ascii").decode("punycode") if encoded else ascii_part
    except (UnicodeError, ValueError, OverflowError):
        return name
