"""What the running kernel's type information (BTF) says about the hooks that programs may attach to.

BTF: https://docs.kernel.org/bpf/btf.html. Read through libbpf's btf__* calls; loading takes a few
milliseconds and is done once, at start.
"""

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.libbpf import Library
from fleetprof.errors import UnavailableError

_PTR, _STRUCT, _TYPEDEF, _FUNC, _FUNC_PROTO = 2, 4, 8, 12, 13
_NO_BTF_HINT = "Kernels built with CONFIG_DEBUG_INFO_BTF=y offer it (all large distributions since 2021)."
KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")


class _Type(ctypes.Structure):
    """struct btf_type (linux/btf.h)."""

    _fields_ = (("name_off", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_or_type", ctypes.c_uint32))

    size_or_type: int
    info: int

    @property
    def members(self) -> int:
        return self.info & 0xFFFF


class _Member(ctypes.Structure):
    """struct btf_member (linux/btf.h)."""

    _fields_ = (("name_off", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))

    name_off: int
    offset: int


def _library() -> Any:
    library = Library.get()
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32
    for name, result, arguments in (
        ("btf__parse", pointer, [text, pointer]),
        ("btf__free", None, [pointer]),
        ("btf__find_by_name_kind", number, [pointer, text, ctypes.c_uint32]),
        ("btf__type_by_id", ctypes.POINTER(_Type), [pointer, ctypes.c_uint32]),
        ("btf__name_by_offset", text, [pointer, ctypes.c_uint32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Btf:
    """Type information of the kernel or of one ELF object. Raises UnavailableError where there is none."""

    def __init__(self, path: Path = KERNEL_BTF) -> None:
        self._lib = _library()
        if not path.exists():
            raise UnavailableError(f"This kernel has no type information ({path}).", _NO_BTF_HINT)
        self._btf = self._lib.btf__parse(str(path).encode(), None)
        if not self._btf:
            raise UnavailableError(f"The type information in {path} cannot be read.", _NO_BTF_HINT)

    def _find(self, name: str, kind: int) -> _Type | None:
        number = self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)
        return self._type(number) if number > 0 else None

    def _type(self, number: int) -> _Type:
        found: _Type = self._lib.btf__type_by_id(self._btf, number).contents
        return found

    def tracepoint_arguments(self, tracepoint: str) -> int | None:
        """How many arguments a program on this tracepoint gets; None when the kernel does not have it."""
        # typedef void (*btf_trace_NAME)(void *__data, arguments...)
        typedef = self._find(f"btf_trace_{tracepoint}", _TYPEDEF)
        if typedef is None:
            return None
        prototype = self._type(self._type(typedef.size_or_type).size_or_type)
        return prototype.members - 1

    def has_function(self, name: str) -> bool:
        """Whether the kernel has a function of this name."""
        return self._find(name, _FUNC) is not None

    def struct_layout(self, name: str) -> tuple[int, dict[str, int]] | None:
        """(size, offset of each member) of a structure in bytes; None when there is none of this name."""
        number = self._lib.btf__find_by_name_kind(self._btf, name.encode(), _STRUCT)
        if number <= 0:
            return None
        pointer = self._lib.btf__type_by_id(self._btf, number)
        head: _Type = pointer.contents
        first = ctypes.cast(pointer, ctypes.c_void_p).value or 0
        members = (_Member * head.members).from_address(first + ctypes.sizeof(_Type))
        named = {self._name(member.name_off): (member.offset & 0xFFFFFF) // 8 for member in members}
        return head.size_or_type, named

    def _name(self, offset: int) -> str:
        name: bytes = self._lib.btf__name_by_offset(self._btf, offset)
        return name.decode()

    def close(self) -> None:
        """Free it; safe to call twice."""
        if self._btf:
            self._lib.btf__free(self._btf)
            self._btf = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
