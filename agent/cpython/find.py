"""Finds CPython in the file of an executable or a library: its version, its runtime, the loop that runs functions.

Nothing of a process's memory is read for it: versions, and since 3.13 offsets, lie in the file as constants.
"""

import struct
from dataclasses import dataclass

from agent.cpython.layout import (
    DEBUG_OFFSETS_BYTES,
    Groups,
    Layout,
    Version,
    known_layout,
    told_layout,
)
from agent.symbolize.elf import ByteSource, ElfError, ElfFile
from agent.symbolize.exports import CodeSpan, Symbol, bias_of, bytes_at, code_spans, defined_symbols

_RUNTIME, _LOOP, _VERSION = b"_PyRuntime", b"_PyEval_EvalFrameDefault", b"Py_Version"
_SINCE_3_10, _SINCE_3_9 = b"Py_NewRef", b"PyFrame_GetCode"
_NAMES = (_RUNTIME, _LOOP, _VERSION, _SINCE_3_10, _SINCE_3_9)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """CPython as it is in one file; addresses are the file's."""

    layout: Layout
    runtime_vaddr: int
    loop: Symbol
    code: tuple[CodeSpan, ...]

    def bias(self, start_addr: int, file_offset: int) -> int | None:
        """What to add to the file's addresses in a process that maps its code so; None for other mappings."""
        return bias_of(self.code, start_addr, file_offset)


def find_interpreter(source: ByteSource) -> Interpreter | None:
    """The interpreter in a file, None without one of a known version. Never raises because of its content."""
    try:
        elf = ElfFile(source)
        if not elf.is_64 or not elf.runs_here:
            return None
        symbols = defined_symbols(elf, _NAMES)
        runtime = symbols.get(_RUNTIME)
        layout = _layout(elf, symbols, runtime) if runtime else None
        if runtime is None or layout is None:
            return None
        loop = symbols.get(_LOOP, Symbol(0, 0))
        if layout.groups is Groups.BY_CODE and not loop.size:
            return None
        return Interpreter(layout, runtime.vaddr, loop, code_spans(elf))
    except ElfError:
        return None


def _layout(elf: ElfFile, symbols: dict[bytes, Symbol], runtime: Symbol) -> Layout | None:
    told = told_layout(bytes_at(elf, runtime.vaddr, DEBUG_OFFSETS_BYTES))
    if told is not None:
        return told
    version = _version(elf, symbols)
    return known_layout(version) if version else None


def _version(elf: ElfFile, symbols: dict[bytes, Symbol]) -> Version | None:
    """By the constant that has it since 3.11, before by what each version brought."""
    if _VERSION in symbols:
        data = bytes_at(elf, symbols[_VERSION].vaddr, 8)
        (number,) = struct.unpack("<Q", data) if data else (0,)
        return number >> 24 & 0xFF, number >> 16 & 0xFF
    if _SINCE_3_9 not in symbols:
        return None
    return (3, 10) if _SINCE_3_10 in symbols else (3, 9)
