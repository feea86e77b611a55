"""A small file in which an interpreter of CPython 3.11 is found."""

from tests.unit import elf_images

CODE_OFFSET = elf_images.TEXT_OFFSET


def interpreter_image() -> bytes:
    """Its symbols, and the constant that tells the version."""
    addr = elf_images.TEXT_ADDR
    symbols = [
        elf_images.Symbol("_PyRuntime", addr + 0x100, 64),
        elf_images.Symbol("_PyEval_EvalFrameDefault", addr + 0x200, 512),
        elf_images.Symbol("Py_Version", addr + 0x40, 8, elf_images.OBJECT),
    ]
    data = bytearray(elf_images.image(symbols))
    at = CODE_OFFSET + 0x40
    data[at : at + 8] = (0x030B07F0).to_bytes(8, "little")
    return bytes(data)
