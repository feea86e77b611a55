"""The code to which a signal handler returns. It has no function symbol in the C library.

It is known by its instructions, as debuggers and unwinders know it: they must not change.
"""

from agent.symbolize.elf import ByteSource, ElfError

NAME = "__restore_rt"
_CODE = (
    bytes.fromhex("48c7c00f0000000f05"),  # x86-64: mov $15, %rax; syscall
    bytes.fromhex("681180d2010000d4"),  # arm64: mov x8, #139; svc #0
)


def returns_from_signal(own: ByteSource, offset: int) -> bool:
    """Whether such code begins at an offset of a file, or after it: return addresses were moved back by one."""
    try:
        code = own.read(offset, 12)
    except ElfError:
        return False
    return any(code.startswith(known) or code.startswith(known, 1) for known in _CODE)
