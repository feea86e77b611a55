"""Numbers and pointers as DWARF writes them, out of bytes that nobody vouches for."""

import struct

_FORMS = {0x00: "<Q", 0x02: "<H", 0x03: "<I", 0x04: "<Q", 0x0A: "<h", 0x0B: "<i", 0x0C: "<q"}
MAX_LEB_BYTES = 10
_MASK = (1 << 64) - 1


class Damaged(ValueError):
    """The bytes end too early, or are of no known form."""


class Cursor:
    """A place in `data`, up to `end`; what reads past it raises Damaged."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self.at, self.end = data, at, end

    def part(self, start: int, end: int) -> "Cursor":
        """A cursor over a part of the same bytes."""
        return Cursor(self._data, start, end)

    def rest(self) -> bytes:
        """All that follows."""
        return self._data[self.at : self.end]

    def skip(self, size: int) -> None:
        """Move on."""
        if size > self.end - self.at:
            raise Damaged
        self.at += size

    def fixed(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        start = self.at
        self.skip(size)
        return int.from_bytes(self._data[start : self.at], "little")

    def uleb(self) -> int:
        """An unsigned LEB128 number, cut to 64 bits."""
        return self._leb()[0] & _MASK

    def sleb(self) -> int:
        """A signed LEB128 number, cut to 64 bits."""
        value, bits, last = self._leb()
        value &= _MASK
        if bits < 64 and last & 0x40:
            value |= _MASK << bits & _MASK
        return (value + (1 << 63)) % (1 << 64) - (1 << 63)

    def _leb(self) -> tuple[int, int, int]:
        """(value, its bits, last byte)."""
        value = 0
        for shift in range(0, 7 * MAX_LEB_BYTES, 7):
            byte = self.fixed(1)
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value, shift + 7, byte
        raise Damaged

    def pointer(self, encoding: int, vaddr: int) -> int:
        """A pointer in one of the encodings DW_EH_PE_*; `vaddr` is the address of the pointer itself."""
        kind = encoding & 0x0F
        if kind in (0x01, 0x09):
            value = self.uleb() if kind == 0x01 else self.sleb()
        elif kind in _FORMS:
            start = self.at
            self.skip(struct.calcsize(_FORMS[kind]))
            (value,) = struct.unpack_from(_FORMS[kind], self._data, start)
        else:
            raise Damaged
        if encoding & 0x70 == 0x10:
            value += vaddr
        elif encoding & 0xF0:
            raise Damaged  # relative to a base we do not know, or indirect
        return int(value) & _MASK
