"""A file that could name frames on the collector: an executable, a library, or its separate debug file."""

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from agent.debug_offers.needed_parts import Range, has_lines, has_symbols, needed_parts
from agent.debug_offers.sightings import Sighting
from agent.symbolize.build_id import NT_GNU_BUILD_ID, build_id_of
from agent.symbolize.debug_files import find_debug_file
from agent.symbolize.elf import ElfError, ElfFile, FileBytes
from agent.symbolize.object_cache import FileKey, file_key

_NAME_BYTES = 255


class Changed(Exception):
    """The file is not what it was when it was offered."""


@dataclass(slots=True, eq=False)
class Candidate:
    """Owns its descriptor until `close`. `nameless`: frames of it have no name here."""

    fd: int
    key: FileKey
    build_id: str
    name: str
    parts: list[Range]
    lines: bool
    nameless: bool
    held_s: float = 0.0
    """Since when, on the monotonic clock."""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.key[2]

    @property
    def sent_size(self) -> int:
        """Bytes that are sent of it."""
        return sum(end - start for start, end in self.parts)

    def read(self, part_bytes: int) -> Iterator[tuple[int, bytes]]:
        """(offset, data) of what is to be sent; raises Changed, and reads nothing that was not offered."""
        for start, end in self.parts:
            for offset in range(start, end, part_bytes):
                yield offset, self._read(offset, min(part_bytes, end - offset))

    def _read(self, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self.fd, size, offset)
            if file_key(self.fd) == self.key and len(data) == size:
                return data
        except OSError as error:
            raise Changed(f"it cannot be read any more ({error.strerror})") from error
        raise Changed("it changed while it was sent")

    def close(self) -> None:
        """Free the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def candidate_of(sighting: Sighting) -> Candidate | None:
    """The best file for what was sampled: with lines, else with symbols that this agent could not use.

    Takes over the sighting's descriptor. None where there is nothing worth sending; never raises because of what
    a file holds.
    """
    fds = [sighting.fd]
    try:
        return _find(sighting, fds)
    except (ElfError, OSError):
        return None
    finally:
        for fd in fds:
            os.close(fd)


def _find(sighting: Sighting, fds: list[int]) -> Candidate | None:
    """`fds`: what is left in it is closed."""
    own = ElfFile(FileBytes(sighting.fd))
    if not own.is_64 or not _has_gnu_id(own):
        return None
    build_id, nameless = build_id_of(own), _lacks_names(sighting, own)
    debug = None if has_lines(own) else find_debug_file(own, sighting.path, sighting.roots)
    if debug:
        fds.append(debug.detach())
    files = [ElfFile(FileBytes(fd)) for fd in fds]
    for worth in (has_lines, has_symbols) if nameless else (has_lines,):
        for place, elf in enumerate(files):
            if worth(elf):
                name = os.fsencode(posixpath.basename(sighting.path))[:_NAME_BYTES].decode("utf-8", "ignore")
                parts, key, lines = needed_parts(elf), file_key(fds[place]), has_lines(elf)
                return Candidate(fds.pop(place), key, build_id, name, parts, lines, nameless)
    return None


def _lacks_names(sighting: Sighting, own: ElfFile) -> bool:
    """Whether frames have no name here that the file might give: not those of gaps between its symbols."""
    if not sighting.nameless:
        return False
    return sighting.too_much or not (sighting.all_tables or has_symbols(own))


def _has_gnu_id(elf: ElfFile) -> bool:
    """Debug files are kept by the linker's build id: Go's own is another thing."""
    return any(owner == b"GNU" and kind == NT_GNU_BUILD_ID for owner, kind, _ in elf.notes())
