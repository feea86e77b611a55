"""Where each version of CPython keeps what is read of its structures.

Up to 3.12 the places are written down here, as the compiler puts the structures of Include/internal of these
versions on 64-bit machines; they are the same in all patch releases of a version. Since 3.13 the interpreter tells
them itself (`_Py_DebugOffsets`, the first member of `_PyRuntime`), in an order that belongs to the version.
Free-threaded builds are not known.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

NONE = 0xFFFFFFFF
"""FP_PYTHON_NONE: the version has no such field."""
FRAME_BYTES = 80
"""What is read of a frame: 8 * FP_PYTHON_FRAME_WORDS."""
MAX_OFFSET = 1 << 24
COOKIE = b"xdebugpy"

Version = tuple[int, int]


class Groups(IntEnum):
    """enum fp_python_groups of bpf/cpython.h: how the frames that run in one call of the interpreter's loop end."""

    BY_CODE = 1
    BY_CFRAME = 2
    BY_ENTRY = 3
    BY_SHIM = 4


@dataclass(frozen=True, slots=True)
class TextLayout:
    """Where a str has its parts."""

    length: int = 16
    state: int = 32
    ascii_data: int = 40
    """Where the characters of a compact ASCII str begin, and of another compact one."""
    wide_data: int = 56
    kind_shift: int = 2
    """Of the bits that say how wide a character is; behind these three come `compact` and `ascii`."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in bytes; the fields up to `code_names` are those of struct fp_python in bpf/cpython.h."""

    groups: Groups
    interpreters_head: int
    """In _PyRuntime."""
    interpreter_next: int
    interpreter_threads: int
    thread_next: int
    thread_id: int
    thread_frame: int
    thread_cframe: int
    cframe_frame: int
    cframe_previous: int
    frame_code: int
    frame_previous: int
    frame_owner: int
    code_names: int
    """co_filename; co_name and another pointer follow."""
    code_line: int
    """co_firstlineno."""
    has_qualname: bool
    """Whether the pointer after co_name is co_qualname."""
    text: TextLayout

    @property
    def is_sound(self) -> bool:
        """Whether every offset is one that may be read at."""
        inside = FRAME_BYTES - 8
        return (
            max(self.frame_code, self.frame_previous) <= inside
            and self.frame_owner < FRAME_BYTES
            and not (self.frame_code | self.frame_previous) % 8
            and all(value < MAX_OFFSET for value in self._offsets())
            and max(self.text.length, self.text.state, self.text.ascii_data, self.text.wide_data) < 256
        )

    def _offsets(self) -> list[int]:
        names = ("interpreters_head", "interpreter_next", "interpreter_threads", "thread_next", "thread_id")
        frames = (self.thread_frame, self.thread_cframe, self.cframe_frame, self.cframe_previous)
        own = [getattr(self, name) for name in names] + [self.code_names, self.code_line]
        return own + [value for value in frames if value != NONE]


_TEXT_WITH_WSTR = TextLayout(ascii_data=48, wide_data=72)

_WRITTEN_DOWN: dict[Version, Layout] = {
    (3, 9): Layout(
        Groups.BY_CODE, 32, 0, 8, 8, 176, 24, NONE, NONE, NONE, 32, 24, 0, 104, 40, False, _TEXT_WITH_WSTR
    ),
    (3, 10): Layout(
        Groups.BY_CFRAME, 32, 0, 8, 8, 176, 24, 48, NONE, 8, 32, 24, 0, 104, 40, False, _TEXT_WITH_WSTR
    ),
    (3, 11): Layout(
        Groups.BY_ENTRY, 40, 0, 16, 8, 152, NONE, 56, 8, 16, 32, 48, 68, 112, 72, True, _TEXT_WITH_WSTR
    ),
    (3, 12): Layout(Groups.BY_SHIM, 40, 0, 72, 8, 136, NONE, 56, 0, 8, 0, 8, 70, 112, 68, True, TextLayout()),
}

_TABLES = ("runtime", "interpreter", "thread", "frame", "code", "object", "type", "tuple", "list")
_SIZES: dict[Version, dict[str, int]] = {
    (3, 13): dict(zip(_TABLES, (3, 13, 9, 6, 10, 2, 4, 3, 3), strict=True))
    | {"set": 0, "dict": 3, "float": 2, "long": 3, "bytes": 3, "text": 4},
    (3, 14): dict(zip(_TABLES, (3, 16, 9, 8, 11, 2, 4, 3, 3), strict=True))
    | {"set": 4, "dict": 3, "float": 2, "long": 3, "bytes": 3, "text": 4},
}
"""How many numbers each part of _Py_DebugOffsets has, in their order (Include/internal/pycore_debug_offsets.h)."""

DEBUG_OFFSETS_BYTES = 8 * (3 + max(sum(sizes.values()) for sizes in _SIZES.values()))
"""As much of _PyRuntime as has to be read."""


def known_layout(version: Version) -> Layout | None:
    """The layout of a version that does not tell it itself."""
    return _WRITTEN_DOWN.get(version)


def told_layout(data: bytes) -> Layout | None:
    """The layout that the first DEBUG_OFFSETS_BYTES of _PyRuntime tell; None without any or in an unknown order."""
    if len(data) < DEBUG_OFFSETS_BYTES or data[:8] != COOKIE:
        return None
    number, free_threaded, *values = struct.unpack_from(f"<{DEBUG_OFFSETS_BYTES // 8 - 1}Q", data, 8)
    version = number >> 24 & 0xFF, number >> 16 & 0xFF
    sizes = _SIZES.get(version)
    if sizes is None or free_threaded:
        return None
    parts: dict[str, list[int]] = {}
    for name, size in sizes.items():
        parts[name], values = values[:size], values[size:]
    layout = _told(parts, kind_shift=16 if version >= (3, 14) else 2)
    return layout if layout.is_sound and parts["code"][2] == layout.code_names + 8 else None


def _told(parts: dict[str, list[int]], kind_shift: int) -> Layout:
    thread, frame, code, text = parts["thread"], parts["frame"], parts["code"], parts["text"]
    return Layout(
        groups=Groups.BY_SHIM,
        interpreters_head=parts["runtime"][2],
        interpreter_next=parts["interpreter"][2],
        interpreter_threads=parts["interpreter"][3],
        thread_next=thread[2],
        thread_id=thread[5],
        thread_frame=thread[4],
        thread_cframe=NONE,
        cframe_frame=NONE,
        cframe_previous=NONE,
        frame_code=frame[2],
        frame_previous=frame[1],
        frame_owner=frame[5],
        code_names=code[1],
        code_line=code[5],
        has_qualname=code[3] == code[1] + 16,
        text=TextLayout(text[2], text[1], text[3], text[3] + 16, kind_shift),
    )
