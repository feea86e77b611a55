"""The row builder in Python, where the one in C (cfi.c) cannot be used: the same rows, eighty times slower.

Formats: DWARF 5 section 6.4 (call frame information), Linux Standard Base 5.0 "Exception Frames" (.eh_frame).
Every byte of a section is untrusted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from agent.unwind.cfi_state import (
    LOST,
    REGISTERS,
    SAME,
    UNKNOWN_TUPLE,
    Place,
    Registers,
    RuleTuple,
    State,
    base_register,
    cfa_expression,
    expression,
    rule_of,
    signed,
)
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


@dataclass(frozen=True, slots=True)
class _Cie:
    instructions: tuple[int, int]
    code_align: int
    data_align: int
    encoding: int
    augmented: bool
    signal: bool


class CfiRows:
    """Rows of one section at address `vaddr`; `machine` is layout.X86_64 or ARM64."""

    def __init__(self, section: bytes, vaddr: int, machine: int) -> None:
        self._section, self._vaddr, self._machine = section, vaddr, machine
        self._registers = REGISTERS[machine]
        self._cies: dict[int, _Cie | None] = {}
        self._initial: dict[int, State | None] = {}
        self._numbers: dict[RuleTuple, int] = {UNKNOWN_TUPLE: UNKNOWN_RULE}
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
        run = _Run(self, cie, initial or State(), start, limit, self._emit)
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

    def _start_state(self, cie: _Cie) -> State | None:
        """What holds before an FDE's own instructions; None when the CIE's are damaged."""
        key = cie.instructions[0]
        if key not in self._initial:
            run = _Run(self, cie, State(), 0, 1 << 64, None)
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

    def number_of(self, state: State, signal: bool) -> int:
        """The number of the rule of a state."""
        rule = rule_of(state, self._machine, signal)
        known = self._numbers.get(rule)
        if known is None:
            if len(self._rules) >= MAX_RULES:
                return UNKNOWN_RULE
            known = self._numbers[rule] = len(self._rules)
            self._rules.append(rule)
        return known

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
        initial: State,
        pc: int,
        limit: int,
        emit: Callable[[int, int], None] | None,
    ) -> None:
        self._rows, self._cie, self._initial, self._emit = rows, cie, initial, emit
        self.state, self.pc, self._limit = initial, pc, limit
        self._saved: list[State] = []

    def execute(self, cursor: Cursor) -> None:
        """Run until the instructions end, or leave the code that the FDE speaks of; raises Damaged."""
        while cursor.at < cursor.end and self.pc < self._limit:
            self._rows.spend()
            byte = cursor.fixed(1)
            high, low = byte >> 6, byte & 0x3F
            if high == 1:
                self._advance(low)
            elif high == 2:
                self._put(low, (At.CFA, signed(cursor.uleb() * self._cie.data_align)))
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
        self.state = replace(self.state, how=how, register=number & 255, offset=signed(offset))

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
                self._put(cursor.uleb(), (At.CFA, signed(cursor.uleb() * align)))
            case 0x06:  # restore_extended
                self._restore(cursor.uleb())
            case 0x07:  # undefined
                number = cursor.uleb()
                self._put(number, LOST)
                if number == self._rows.registers.ra:
                    self.state = replace(self.state, ra_undefined=True)
            case 0x08:  # same_value
                self._put(cursor.uleb(), SAME)
            case 0x09 | 0x14 | 0x15:  # register, val_offset, val_offset_sf
                number = cursor.uleb()
                cursor.uleb()
                self._put(number, LOST)
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
                self.state = replace(self.state, offset=signed(cursor.uleb()))
            case 0x0F:  # def_cfa_expression
                self.state = cfa_expression(self.state, expression(cursor))
            case 0x10:  # expression
                self._put(cursor.uleb(), self._place(expression(cursor)))
            case 0x11:  # offset_extended_sf
                self._put(cursor.uleb(), (At.CFA, signed(cursor.sleb() * align)))
            case 0x12:  # def_cfa_sf
                self._set_cfa(cursor.uleb(), cursor.sleb() * align)
            case 0x13:  # def_cfa_offset_sf
                self.state = replace(self.state, offset=signed(cursor.sleb() * align))
            case 0x16:  # val_expression
                number = cursor.uleb()
                expression(cursor)
                self._put(number, LOST)
            case 0x2E:  # GNU_args_size
                cursor.uleb()
            case 0x2F:  # GNU_negative_offset_extended
                self._put(cursor.uleb(), (At.CFA, signed(-cursor.uleb() * align)))
            case _:
                raise Damaged

    def _place(self, expression: Cursor) -> Place:
        names = self._rows.registers
        based = base_register(expression)
        if based is None or expression.at != expression.end:
            return LOST
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
