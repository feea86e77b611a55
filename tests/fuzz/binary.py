"""Mutations of files and records that programs write: of the fields they are made of, and of their bytes."""

import random
from collections.abc import Sequence
from typing import NamedTuple

NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 15, 16, 24, 63, 64, 127, 128, 255, 256, 4095, 4096, 65535, 65536),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**47, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 4096, 2**64 - 1),
)
_EDITS = (1, 1, 1, 1, 2, 2, 3, 5)


class Field(NamedTuple):
    """A number of the format: `size` bytes at `at`, little-endian."""

    at: int
    size: int


class Seed(NamedTuple):
    """A real file or record, and the numbers in it that say how to read it."""

    data: bytes
    fields: Sequence[Field] = ()


class BinaryInputs:
    """Seeds with some fields set to other values, bytes changed, and parts moved, doubled or cut off."""

    def __init__(self, chance: random.Random, seeds: Sequence[Seed], rare: Sequence[Seed] = ()) -> None:
        """`rare`: large ones, each of which costs as much as many others; one input in 250."""
        self._chance, self._seeds, self._rare = chance, seeds, rare

    def next(self) -> bytes:
        """The next input."""
        chance = self._chance
        seed = chance.choice(self._rare if self._rare and chance.random() < 0.004 else self._seeds)
        out = bytearray(seed.data)
        for _ in range(chance.choice(_EDITS)):
            self._edit(out, seed)
        return bytes(out)

    def _edit(self, out: bytearray, seed: Seed) -> None:
        chance = self._chance
        kind = chance.random()
        if not out:
            return
        if kind < 0.65 and seed.fields:
            self._field(out, chance.choice(seed.fields))
        elif kind < 0.8:
            for _ in range(chance.choice((1, 1, 2, 8))):
                out[chance.randrange(len(out))] = chance.choice(
                    (0, 1, 0x7F, 0x80, 0xFF, chance.getrandbits(8))
                )
        elif kind < 0.87:
            self._field(out, Field(chance.randrange(len(out)), chance.choice((1, 2, 4, 8))))
        elif kind < 0.94:
            self._part(out)
        else:
            del out[chance.randrange(len(out)) :]

    def _field(self, out: bytearray, field: Field) -> None:
        """Another value: a telling one, a neighbour of the old one, that of another place, or any."""
        chance, (at, size) = self._chance, field
        if at + size > len(out):
            return
        old = int.from_bytes(out[at : at + size], "little")
        kind = chance.random()
        if kind < 0.5:
            value = chance.choice(NUMBERS)
        elif kind < 0.75:
            value = old + chance.choice((-8, -1, 1, 2, 8, 16, len(out), old, -old // 2))
        elif kind < 0.9:
            other = chance.randrange(len(out) - size + 1)
            value = int.from_bytes(out[other : other + size], "little")
        else:
            value = chance.getrandbits(8 * size)
        out[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def _part(self, out: bytearray) -> None:
        """A part removed, doubled, or put over another place."""
        chance = self._chance
        first = chance.randrange(len(out))
        part = bytes(out[first : first + chance.choice((1, 4, 8, 24, 64))])
        kind = chance.randrange(3)
        if kind == 0:
            del out[first : first + len(part)]
        elif kind == 1:
            out[first:first] = part
        else:
            at = chance.randrange(len(out))
            out[at : at + len(part)] = part[: len(out) - at]


def words(data: bytes, start: int = 0, end: int | None = None, size: int = 4) -> list[Field]:
    """The words in a part of `data` as fields, those that are zero left out."""
    last = min(len(data), len(data) if end is None else end) - size
    return [Field(at, size) for at in range(start, last + 1, size) if any(data[at : at + size])]
