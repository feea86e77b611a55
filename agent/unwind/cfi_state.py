"""One row of the table that an FDE describes, and the unwind rule that it amounts to."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from agent.unwind.dwarf_bytes import Cursor, Damaged
from agent.unwind.layout import At, Cfa


class Registers(NamedTuple):
    """DWARF numbers of the registers that are followed."""

    sp: int
    fp: int
    third: int
    ra: int


REGISTERS = (Registers(7, 6, 3, 16), Registers(31, 29, 30, 30))
"""Of x86-64 and arm64: the numbers in their psABI supplements."""

Place = tuple[At, int]
SAME: Place = (At.SAME, 0)
LOST: Place = (At.UNKNOWN, 0)
RuleTuple = tuple[int, int, int, int, int, int, int]
UNKNOWN_TUPLE: RuleTuple = (Cfa.UNKNOWN, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class State:
    """One row of the table that an FDE describes, as far as it matters here."""

    how: str = "other"
    """register: CFA = register + offset; loaded: memory at that, plus `added`; plt; other."""
    register: int = 0
    offset: int = 0
    added: int = 0
    fp: Place = SAME
    third: Place = SAME
    ra: Place = SAME
    ra_undefined: bool = False


def rule_of(state: State, machine: int, signal: bool) -> RuleTuple:
    """The rule that a row amounts to; `signal`: the code is a signal frame's."""
    names = REGISTERS[machine]
    if state.ra_undefined:
        return (Cfa.END, 0, 0, 0, 0, 0, 0)
    if not _fits(state.offset):
        return UNKNOWN_TUPLE
    fp, fp_offset = _kept(state.fp)
    # On arm64 the return address has a register of its own, which may still hold it.
    third, third_offset = _kept(state.ra if machine else state.third)
    rest = (fp, third, state.offset, fp_offset, third_offset)
    if state.how == "plt":
        return (Cfa.PLT, 0, *rest) if _returns_plainly(state, machine) else UNKNOWN_TUPLE
    if state.how == "loaded":
        if signal and state.register == names.sp and state.ra == (At.SP, state.offset + 8):
            return (Cfa.SIGNAL, 0, *rest)
        kind = {names.fp: Cfa.AT_FP, names.sp: Cfa.AT_SP}.get(state.register)
        if kind is None or state.added > 255 * 8 or state.added % 8 or not _returns_plainly(state, machine):
            return UNKNOWN_TUPLE
        return (kind, state.added // 8, *rest)
    if state.how != "register" or not _returns_plainly(state, machine):
        return UNKNOWN_TUPLE
    if state.register == names.sp:
        return (Cfa.SP, 0, *rest)
    if state.register == names.fp:
        return (Cfa.FP, 0, *rest)
    if state.register == names.third and not machine:
        return (Cfa.THIRD, 0, *rest)
    return (Cfa.REG, state.register, *rest)


def _returns_plainly(state: State, machine: int) -> bool:
    return bool(machine) or state.ra == (At.CFA, -8)


def expression(cursor: Cursor) -> Cursor:
    """The expression that the cursor is at, which is left behind it."""
    size = cursor.uleb()
    start = cursor.at
    cursor.skip(size)
    return cursor.part(start, start + size)


def base_register(expression: Cursor) -> tuple[int, int] | None:
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


def cfa_expression(state: State, expression: Cursor) -> State:
    """`state` with the CFA that an expression gives."""
    threshold = _plt_threshold(expression.rest())
    if threshold is not None:
        return replace(state, how="plt", offset=threshold)
    based = base_register(expression)
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


def signed(value: int) -> int:
    """As a 64-bit register holds it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _kept(place: Place) -> Place:
    kind, offset = place
    if not _fits(offset) or kind == At.UNKNOWN:
        return LOST
    return SAME if kind == At.SAME else place
