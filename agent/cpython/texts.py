"""Reads str objects of CPython from bytes of a process's memory, which may hold anything."""

from agent.cpython.layout import TextLayout

_DECODERS = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}
_CUT = "…"


def text_of(data: bytes, layout: TextLayout) -> str:
    """The characters of a str object, those that `data` has of them; "" for what is none.

    What cannot be part of a name becomes a replacement character, so that the result is always good UTF-8.
    """
    if len(data) < max(layout.length + 8, layout.state + 4):
        return ""
    length = int.from_bytes(data[layout.length : layout.length + 8], "little")
    state = int.from_bytes(data[layout.state : layout.state + 4], "little") >> layout.kind_shift
    width, compact, ascii_only = state & 7, state & 8, state & 16
    decoder = _DECODERS.get(width)
    if not compact or decoder is None or not length:
        return ""
    start = layout.ascii_data if ascii_only else layout.wide_data
    there = data[start : start + length * width]
    whole = there[: len(there) // width * width].decode(decoder, "replace")
    return whole if len(there) == length * width else whole + _CUT
