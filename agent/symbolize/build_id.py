"""Build ids: what tells one build of an executable or library from another.

The linker writes a hash of the contents as a note (`.note.gnu.build-id`); debug files and symbol servers are
found by it. Go's own note holds text of its own form, so that is hashed to hex.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from agent.symbolize.elf import ElfError, ElfFile, FileBytes, split_notes

NT_GNU_BUILD_ID = 3
NT_GO_BUILD_ID = 4
MAX_ID_BYTES = 64
MAX_GO_ID_BYTES = 512


def read_build_id(fd: int) -> str:
    """Lower-case hex of the build id of the open file `fd`; "" when it has none or is no readable ELF file.

    The GNU id where there is one, else BLAKE2b-160 of Go's build id. Reads a few kilobytes at most; never
    raises because of what the file holds.
    """
    try:
        return build_id_of(ElfFile(FileBytes(fd)))
    except ElfError:
        return ""


def build_id_of(elf: ElfFile) -> str:
    """As read_build_id, of an ELF file that is open already."""
    return _among(elf.notes())


def kernel_build_id(notes: Path = Path("/sys/kernel/notes")) -> str:
    """The running kernel's build id, "" when it cannot be read."""
    try:
        with notes.open("rb") as file:
            return _among(split_notes(file.read(1 << 16)))
    except OSError:
        return ""


def _among(notes: Iterable[tuple[bytes, int, bytes]]) -> str:
    go_id = ""
    for owner, kind, description in notes:
        if owner == b"GNU" and kind == NT_GNU_BUILD_ID and 0 < len(description) <= MAX_ID_BYTES:
            return description.hex()
        if owner == b"Go" and kind == NT_GO_BUILD_ID and 0 < len(description) <= MAX_GO_ID_BYTES:
            go_id = go_id or hashlib.blake2b(description, digest_size=20).hexdigest()
    return go_id
