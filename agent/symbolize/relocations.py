"""Words of an ELF image as the loader leaves them: a position independent file may hold addresses only in its
relocations (https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.reloc.html)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.samples import U64
from agent.symbolize.elf import EM_AARCH64, EM_X86_64, SHT_RELA, ElfError, ElfFile

MAX_RELOCATIONS_BYTES = 64 << 20
"""2.8 million of them, a browser's; more are not looked at."""
_CHUNK_BYTES = 24 << 15
_RELATIVE = {EM_X86_64: 8, EM_AARCH64: 1027}
"""R_X86_64_RELATIVE, R_AARCH64_RELATIVE: the word becomes load address + addend."""
_RELA = np.dtype([("offset", "<u8"), ("info", "<u8"), ("addend", "<u8")])

Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Relocated:
    """An ELF image with its relative relocations applied, for a load address of 0."""

    elf: ElfFile

    def read(self, offset: int, size: int, word: int) -> U64:
        """`size` bytes from file offset `offset` as words of 4 or 8 bytes; raises ElfError."""
        raw = self.elf.source.read(offset, size // word * word)
        words = np.frombuffer(raw, "<u8" if word == 8 else "<u4").astype(np.uint64)
        vaddr = self.elf.vaddr_of(offset)
        if word != 8 or vaddr is None or vaddr >= 1 << 63 or not len(words):
            return words
        for rows in self._relative():
            inside = rows[(rows["offset"] >= vaddr) & (rows["offset"] < vaddr + len(words) * 8)]
            at = inside["offset"] - np.uint64(vaddr)
            aligned = at % 8 == 0
            words[(at[aligned] // np.uint64(8)).astype(np.int64)] = inside["addend"][aligned]
        return words

    def pointing_to(self, vaddr: int, most: int) -> list[int]:
        """Addresses of words that hold `vaddr` by relocation, at most `most` of them."""
        found: list[int] = []
        for rows in self._relative():
            found += rows["offset"][rows["addend"] == vaddr].tolist()
            if len(found) >= most:
                break
        return found[:most]

    def _relative(self) -> Iterator[Rows]:
        """The relative relocations, in pieces."""
        kind = _RELATIVE.get(self.elf.machine)
        left = MAX_RELOCATIONS_BYTES
        for section in self.elf.sections:
            if section.type != SHT_RELA or section.entry_size != _RELA.itemsize or kind is None:
                continue
            size = min(section.size, left) // _RELA.itemsize * _RELA.itemsize
            left -= size
            if section.offset + size > self.elf.source.size:
                raise ElfError("relocations that end outside the file")
            for start in range(0, size, _CHUNK_BYTES):
                raw = self.elf.source.read(section.offset + start, min(_CHUNK_BYTES, size - start))
                rows = np.frombuffer(raw, _RELA)
                yield rows[rows["info"] & 0xFFFFFFFF == kind]
