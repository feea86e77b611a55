"""Files with holes: what an agent sent of a program lacks most of its bytes, and takes no disk for them."""

import os
from typing import BinaryIO

_BLOCK_BYTES = 64 << 10
_ZEROS = memoryview(bytes(_BLOCK_BYTES))


def write_with_holes(out: BinaryIO, data: bytes) -> None:
    """Append `data`; whole blocks of zeros become holes. `end_with_hole` must follow the last piece."""
    view = memoryview(data)
    for start in range(0, len(view), _BLOCK_BYTES):
        block = view[start : start + _BLOCK_BYTES]
        if block == _ZEROS[: len(block)]:
            out.seek(len(block), os.SEEK_CUR)
        else:
            out.write(block)


def end_with_hole(out: BinaryIO) -> None:
    """The file ends here, also where nothing was written last."""
    out.truncate()
