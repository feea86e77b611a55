"""The row builder in Python, where the one in C (cfi.c) cannot be used: the same rows, eighty times slower.

Formats: DWARF 5 section 6.4 (call frame information), Linux Standard Base 5.0 "Exception Frames" (.eh_frame).
Every byte of a section is untrusted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from agent.unwind.dwarf_bytes import Cursor, Damaged
from agent.unwind.layout import (
    FDE,
    MAX_RULES,
    NO_RULE,
    ROW,
    RULE,
    UNKNOWN_RULE,
    WORK_PER_BYTE,
    At,
    Cfa,
    Fdes,
    Rows,
    Rules,
    TooMuchWork,
    first_rules,
)

PADDING = 16
"""Gaps shorter than this are padding between functions: no row tells of them."""
BATCH_ROWS = 1 << 16
MAX_STATES = 16
MAX_AUGMENTATION = 16


class Registers(NamedTuple):
    """DWARF numbers of the registers that are followed."""

    sp: int
    fp: int
    third: int
    ra: int


REGISTERS = (Registers(7, 6, 3, 16), Registers(31, 29, 30, 30))
"""Of x86-64 and arm64: the numbers in their psABI supplements."""

Place = tuple[At, int]
_SAME: Place = (At.SAME, 0)
_LOST: Place = (At.UNKNOWN, 0)
RuleTuple = tuple[int, int, int, int, int, int, int]
_UNKNOWN: RuleTuple = (Cfa.UNKNOWN, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class _Cie:
    instructions: tuple[int, int]
    code_align: int
    data_align: int
    encoding: int
    augmented: bool
    signal: bool


@dataclass(frozen=True, slots=True)
class _State:
    """One row of the table that an FDE describes, as far as it matters here."""

    how: str = "other"
    """register: CFA = register + offset; loaded: memory at that, plus `added`; plt; other."""
    register: int = 0
    offset: int = 0
    added: int = 0
    fp: Place = _SAME
    third: Place = _SAME
    ra: Place = _SAME
    ra_undefined: bool = False


class CfiRows:
    """Rows of one section at address `vaddr`; `machine` is layout.X86_64 or ARM64."""

    def __init__(self, section: bytes, vaddr: int, machine: int) -> None:
        self._section, self._vaddr, self._machine = section, vaddr, machine
        self._registers = REGISTERS[machine]
        self._cies: dict[int, _Cie | None] = {}
        self._initial: dict[int, _State | None] = {}
        self._numbers: dict[RuleTuple, int] = {_UNKNOWN: UNKNOWN_RULE}
        self._rules: list[RuleTuple] = [tuple(rule) for rule in first_rules().tolist()]
        self._work = WORK_PER_BYTE * len(section)
        self._out: list[tuple[int, int]] = []
        self._last = NO_RULE
        self.base = 0
        self.end = 0
        self.skipped = 0

    @property
    def rules(self) -> Rules:
        """The rules so far, by number."""
        return np.array(self._rules, RULE)

    def index(self) -> Fdes:
        """The FDEs in the section's order."""
        found = []
        at = 0
        while at + 4 <= len(self._section):
            if self._section[at : at + 4] == b"\0\0\0\0":
                at += 4  # it ends the section, but the linker may have put more behind it
                continue
            record = self._record(at)
            if record is None:
                break
            try:
                _, start, end, _ = self._parse_fde(at)
                if end > start:
                    found.append((start, end, at))
            except Damaged:
                pass
            at = record[1]
        return np.array(found, FDE)

    def rows(self, fdes: Fdes, base: int, code_end: int) -> Iterator[Rows]:
        """Rows of FDEs sorted by start, batch by batch; raises TooMuchWork.

        Of overlapping FDEs the later begins where it begins; those outside of [base, code_end) are left out.
        """
        self.base = self.end = base
        starts = [*fdes["start"].tolist(), code_end]
        for number, (start, end, at) in enumerate(fdes.tolist()):
            limit = min(end, starts[number + 1]) if starts[number + 1] < end else end
            if start < base or end > code_end or limit <= start:
                continue
            self._fde_rows(at, start, limit)
            if len(self._out) >= BATCH_ROWS:
                yield self._take()
        yield self._take()

    def _take(self) -> Rows:
        rows, self._out = np.array(self._out, ROW), []
        return rows

    def _spend(self) -> None:
        if self._work <= 0:
            raise TooMuchWork
        self._work -= 1

    def _fde_rows(self, at: int, start: int, limit: int) -> None:
        self._spend()
        try:
            cie, _, _, cursor = self._parse_fde(at)
        except Damaged:
            return
        initial = self._start_state(cie)
        if start >= self.end + PADDING:
            self._emit(self.end, NO_RULE)
        self.end = limit
        run = _Run(self, cie, initial or _State(), start, limit, self._emit)
        try:
            if initial is None:
                raise Damaged
            run.execute(cursor)
        except Damaged:
            self.skipped += 1
            if run.pc < limit:
                self._emit(run.pc, UNKNOWN_RULE)
            return
        if run.pc < limit:
            self._emit(run.pc, self.number_of(run.state, cie.signal))

    def _start_state(self, cie: _Cie) -> _State | None:
        """What holds before an FDE's own instructions; None when the CIE's are damaged."""
        key = cie.instructions[0]
        if key not in self._initial:
            run = _Run(self, cie, _State(), 0, 1 << 64, None)
            try:
                run.execute(Cursor(self._section, *cie.instructions))
                self._initial[key] = run.state
            except Damaged:
                self._initial[key] = None
        return self._initial[key]

    def _emit(self, pc: int, rule: int) -> None:
        if rule == self._last:
            return
        self._last = rule
        offset = pc - self.base
        if self._out and self._out[-1][0] == offset:
            self._out[-1] = offset, rule
        else:
            self._out.append((offset, rule))

    def _record(self, at: int) -> tuple[Cursor, int] | None:
        """The contents of a CIE or FDE after its length, and where the next one begins."""
        cursor = Cursor(self._section, at, len(self._section))
        try:
            length = cursor.fixed(4)
            if length == 0xFFFFFFFF:
                length = cursor.fixed(8)
        except Damaged:
            return None
        end = cursor.at + length
        if end > len(self._section):
            return None
        return Cursor(self._section, cursor.at, end), end

    def _parse_fde(self, at: int) -> tuple[_Cie, int, int, Cursor]:
        """(CIE, start, end, its instructions); raises Damaged, also for a CIE."""
        record = self._record(at)
        if record is None:
            raise Damaged
        cursor = record[0]
        here = cursor.at
        back = cursor.fixed(4)
        if not back or back > here:
            raise Damaged
        cie = self._cie(here - back)
        start = cursor.pointer(cie.encoding, self._vaddr + cursor.at)
        end = start + cursor.pointer(cie.encoding & 0x0F, 0) & (1 << 64) - 1
        if cie.augmented:
            cursor.skip(cursor.uleb())
        return cie, start, end, cursor

    def _cie(self, at: int) -> _Cie:
        if at not in self._cies:
            try:
                self._cies[at] = self._parse_cie(at)
            except Damaged:
                self._cies[at] = None
        cie = self._cies[at]
        if cie is None:
            raise Damaged
        return cie

    def _parse_cie(self, at: int) -> _Cie:
        record = self._record(at)
        if record is None:
            raise Damaged
        cursor = record[0]
        if cursor.fixed(4) != 0:
            raise Damaged
        version = cursor.fixed(1)
        letters = self._section[cursor.at : min(cursor.at + MAX_AUGMENTATION, cursor.end)]
        augmentation, found, _ = letters.partition(b"\0")
        if not found or version not in (1, 3) or (augmentation and augmentation[:1] != b"z"):
            raise Damaged
        cursor.skip(len(augmentation) + 1)
        code_align, data_align = cursor.uleb(), cursor.sleb()
        if version == 1:
            cursor.fixed(1)
        else:
            cursor.uleb()
        encoding = 0
        if augmentation:
            size = cursor.uleb()
            encoding = _encoding(augmentation, Cursor(self._section, cursor.at, cursor.end))
            cursor.skip(size)
        signal = b"S" in augmentation
        return _Cie((cursor.at, cursor.end), code_align, data_align, encoding, bool(augmentation), signal)

    def number_of(self, state: _State, signal: bool) -> int:
        """The number of the rule of a state."""
        rule = self._rule_of(state, signal)
        known = self._numbers.get(rule)
        if known is None:
            if len(self._rules) >= MAX_RULES:
                return UNKNOWN_RULE
            known = self._numbers[rule] = len(self._rules)
            self._rules.append(rule)
        return known

    def _rule_of(self, state: _State, signal: bool) -> RuleTuple:
        names = self._registers
        if state.ra_undefined:
            return (Cfa.END, 0, 0, 0, 0, 0, 0)
        if not _fits(state.offset):
            return _UNKNOWN
        fp, fp_offset = _kept(state.fp)
        # On arm64 the return address has a register of its own, which may still hold it.
        third, third_offset = _kept(state.ra if self._machine else state.third)
        rest = (fp, third, state.offset, fp_offset, third_offset)
        if state.how == "plt":
            return (Cfa.PLT, 0, *rest)
        if state.how == "loaded":
            if signal and state.register == names.sp and state.ra == (At.SP, state.offset + 8):
                return (Cfa.SIGNAL, 0, *rest)
            kind = {names.fp: Cfa.AT_FP, names.sp: Cfa.AT_SP}.get(state.register)
            if kind is None or state.added > 255 * 8 or state.added % 8 or not self._returns_plainly(state):
                return _UNKNOWN
            return (kind, state.added // 8, *rest)
        if state.how != "register" or not self._returns_plainly(state):
            return _UNKNOWN
        if state.register == names.sp:
            return (Cfa.SP, 0, *rest)
        if state.register == names.fp:
            return (Cfa.FP, 0, *rest)
        if state.register == names.third and not self._machine:
            return (Cfa.THIRD, 0, *rest)
        return (Cfa.REG, state.register, *rest)

    def _returns_plainly(self, state: _State) -> bool:
        return bool(self._machine) or state.ra == (At.CFA, -8)

    @property
    def registers(self) -> Registers:
        """The registers that are followed."""
        return self._registers

    @property
    def vaddr(self) -> int:
        """The section's address."""
        return self._vaddr

    def spend(self) -> None:
        """Account for one step; raises TooMuchWork."""
        self._spend()


class _Run:
    """Executes instructions on a state; `emit` is told of each row that ends, None for a CIE."""

    def __init__(
        self,
        rows: CfiRows,
        cie: _Cie,
        initial: _State,
        pc: int,
        limit: int,
        emit: Callable[[int, int], None] | None,
    ) -> None:
        self._rows, self._cie, self._initial, self._emit = rows, cie, initial, emit
        self.state, self.pc, self._limit = initial, pc, limit
        self._saved: list[_State] = []

    def execute(self, cursor: Cursor) -> None:
        """Run until the instructions end, or leave the code that the FDE speaks of; raises Damaged."""
        while cursor.at < cursor.end and self.pc < self._limit:
            self._rows.spend()
            byte = cursor.fixed(1)
            high, low = byte >> 6, byte & 0x3F
            if high == 1:
                self._advance(low)
            elif high == 2:
                self._put(low, (At.CFA, _signed(cursor.uleb() * self._cie.data_align)))
            elif high == 3:
                self._restore(low)
            else:
                self._extended(low, cursor)

    def _go(self, to: int) -> None:
        if self._emit and to != self.pc:
            self._emit(self.pc, self._rows.number_of(self.state, self._cie.signal))
        self.pc = to

    def _advance(self, delta: int) -> None:
        to = self.pc + delta * self._cie.code_align & (1 << 64) - 1
        self._go(self._limit if to < self.pc else to)

    def _name(self, number: int) -> str:
        names = self._rows.registers
        if number == names.ra:
            return "ra"
        return {names.fp: "fp", names.third: "third"}.get(number, "")

    def _put(self, number: int, place: Place) -> None:
        name = self._name(number)
        if name == "ra":
            self.state = replace(self.state, ra=place, ra_undefined=False)
        elif name == "fp":
            self.state = replace(self.state, fp=place)
        elif name:
            self.state = replace(self.state, third=place)

    def _restore(self, number: int) -> None:
        name, initial = self._name(number), self._initial
        if name:
            self._put(number, getattr(initial, name))
        if name == "ra":
            self.state = replace(self.state, ra_undefined=initial.ra_undefined)

    def _set_cfa(self, number: int, offset: int) -> None:
        how = "register" if number < 256 else "other"
        self.state = replace(self.state, how=how, register=number & 255, offset=_signed(offset))

    def _extended(self, op: int, cursor: Cursor) -> None:
        """The instructions whose two high bits are 0."""
        align = self._cie.data_align
        match op:
            case 0x00 | 0x2D:  # nop; AARCH64_negate_ra_state: addresses are stripped when they are read
                pass
            case 0x01:  # set_loc
                to = cursor.pointer(self._cie.encoding, self._rows.vaddr + cursor.at)
                if to < self.pc:
                    raise Damaged
                self._go(to)
            case 0x02 | 0x03 | 0x04:  # advance_loc1, 2, 4
                self._advance(cursor.fixed(1 << op - 2))
            case 0x05:  # offset_extended
                self._put(cursor.uleb(), (At.CFA, _signed(cursor.uleb() * align)))
            case 0x06:  # restore_extended
                self._restore(cursor.uleb())
            case 0x07:  # undefined
                number = cursor.uleb()
                self._put(number, _LOST)
                if number == self._rows.registers.ra:
                    self.state = replace(self.state, ra_undefined=True)
            case 0x08:  # same_value
                self._put(cursor.uleb(), _SAME)
            case 0x09 | 0x14 | 0x15:  # register, val_offset, val_offset_sf
                number = cursor.uleb()
                cursor.uleb()
                self._put(number, _LOST)
            case 0x0A:  # remember_state
                if len(self._saved) == MAX_STATES:
                    raise Damaged
                self._saved.append(self.state)
            case 0x0B:  # restore_state
                if not self._saved:
                    raise Damaged
                self.state = self._saved.pop()
            case 0x0C:  # def_cfa
                self._set_cfa(cursor.uleb(), cursor.uleb())
            case 0x0D:  # def_cfa_register
                self._set_cfa(cursor.uleb(), self.state.offset)
            case 0x0E:  # def_cfa_offset
                self.state = replace(self.state, offset=_signed(cursor.uleb()))
            case 0x0F:  # def_cfa_expression
                self.state = _cfa_expression(self.state, _expression(cursor))
            case 0x10:  # expression
                self._put(cursor.uleb(), self._place(_expression(cursor)))
            case 0x11:  # offset_extended_sf
                self._put(cursor.uleb(), (At.CFA, _signed(cursor.sleb() * align)))
            case 0x12:  # def_cfa_sf
                self._set_cfa(cursor.uleb(), cursor.sleb() * align)
            case 0x13:  # def_cfa_offset_sf
                self.state = replace(self.state, offset=_signed(cursor.sleb() * align))
            case 0x16:  # val_expression
                number = cursor.uleb()
                _expression(cursor)
                self._put(number, _LOST)
            case 0x2E:  # GNU_args_size
                cursor.uleb()
            case 0x2F:  # GNU_negative_offset_extended
                self._put(cursor.uleb(), (At.CFA, _signed(-cursor.uleb() * align)))
            case _:
                raise Damaged

    def _place(self, expression: Cursor) -> Place:
        names = self._rows.registers
        based = _base_register(expression)
        if based is None or expression.at != expression.end:
            return _LOST
        number, offset = based
        if number == names.fp:
            return At.FP, offset
        return (At.SP, offset) if number == names.sp else (At.UNKNOWN, offset)


def _encoding(augmentation: bytes, data: Cursor) -> int:
    """The encoding of addresses: the augmentation's data for its letter R."""
    encoding = 0
    for letter in augmentation[1:]:
        if letter == ord("R"):
            encoding = data.fixed(1)
        elif letter == ord("P"):
            data.pointer(data.fixed(1) & 0x0F, 0)
        elif letter == ord("L"):
            data.fixed(1)
        elif letter not in b"SBG":
            break
    return encoding


def _expression(cursor: Cursor) -> Cursor:
    size = cursor.uleb()
    start = cursor.at
    cursor.skip(size)
    return cursor.part(start, start + size)


def _base_register(expression: Cursor) -> tuple[int, int] | None:
    """DW_OP_breg<n> and its offset at the start of an expression; the cursor is left behind it."""
    try:
        op = expression.fixed(1)
        if not 0x70 <= op <= 0x8F:
            return None
        return op - 0x70, expression.sleb()
    except Damaged:
        return None


def _plt_threshold(data: bytes) -> int | None:
    """x86-64's lazy PLT, in which the second of two pushes is done from byte n of the 16 of an entry on:
    DW_OP_breg7 8, breg16 0, lit15, and, lit<n>, ge, lit3, shl, plus."""
    if len(data) != 11 or data[:6] != b"\x77\x08\x80\x00\x3f\x1a" or data[7:] != b"\x2a\x33\x24\x22":
        return None
    return data[6] - 0x30 if 0x30 <= data[6] <= 0x3F else None


def _cfa_expression(state: _State, expression: Cursor) -> _State:
    threshold = _plt_threshold(expression.rest())
    if threshold is not None:
        return replace(state, how="plt", offset=threshold)
    based = _base_register(expression)
    if based is None:
        return replace(state, how="other")
    register, offset = based
    state = replace(state, register=register, offset=offset, added=0)
    rest = expression.rest()
    if not rest:
        return replace(state, how="register")
    if rest[0] != 0x06:  # DW_OP_deref
        return replace(state, how="other")
    expression.skip(1)
    if rest[1:2] == b"\x23":  # DW_OP_plus_uconst
        expression.skip(1)
        try:
            state = replace(state, added=expression.uleb())
        except Damaged:
            return replace(state, how="other")
    return replace(state, how="loaded" if not expression.rest() else "other")


def _fits(value: int) -> bool:
    return -(1 << 31) <= value < 1 << 31


def _signed(value: int) -> int:
    """As a 64-bit register holds it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _kept(place: Place) -> Place:
    kind, offset = place
    if not _fits(offset) or kind == At.UNKNOWN:
        return _LOST
    return _SAME if kind == At.SAME else place
