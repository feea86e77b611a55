"""libbpf through ctypes: the few calls the agent needs, with errors that name what failed.

Works with libbpf 1.0 and newer (`libbpf.so.1`, Debian's package libbpf1). Only the calls declared here are
used; their signatures are libbpf's public, stable ABI (https://libbpf.readthedocs.io/en/latest/api.html).
"""

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fleetprof.errors import UnavailableError

OBJECTS = Path(__file__).parent / "objects"
"""Where the build (bpf/Makefile) puts the compiled BPF programs."""

_PRINT_TYPE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class BpfError(UnavailableError):
    """A BPF call that the kernel or libbpf refused; `number` is the errno."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what}: {os.strerror(number)} (errno {number})", _hint(number))
        self.number = number


def _hint(number: int) -> str:
    if number in (errno.EPERM, errno.EACCES):
        return "BPF needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE."
    if number == errno.ENOMEM:
        return "The kernel had no memory for the program's maps."
    return "Run `fleetprof-agent doctor` to see what this host offers."


def _load_library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise UnavailableError(
            f"libbpf is not installed ({error}).", "Install it: apt install libbpf1 (Debian, Ubuntu)."
        ) from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "bpf_object__open_file": (pointer, [text, pointer]),
        "bpf_object__load": (number, [pointer]),
        "bpf_object__close": (None, [pointer]),
        "bpf_object__next_program": (pointer, [pointer, pointer]),
        "bpf_object__next_map": (pointer, [pointer, pointer]),
        "bpf_program__name": (text, [pointer]),
        "bpf_program__set_autoload": (number, [pointer, ctypes.c_bool]),
        "bpf_program__fd": (number, [pointer]),
        "bpf_program__attach": (pointer, [pointer]),
        "bpf_program__attach_iter": (pointer, [pointer, pointer]),
        "bpf_program__attach_uprobe": (pointer, [pointer, ctypes.c_bool, number, text, ctypes.c_size_t]),
        "libbpf_probe_bpf_map_type": (number, [number, pointer]),
        "libbpf_probe_bpf_helper": (number, [number, number, pointer]),
        "bpf_link__destroy": (number, [pointer]),
        "bpf_link__fd": (number, [pointer]),
        "bpf_iter_create": (number, [number]),
        "bpf_map__name": (text, [pointer]),
        "bpf_map__fd": (number, [pointer]),
        "bpf_map__value_size": (ctypes.c_uint32, [pointer]),
        "bpf_map__max_entries": (ctypes.c_uint32, [pointer]),
        "bpf_map__set_max_entries": (number, [pointer, ctypes.c_uint32]),
        "bpf_map__reuse_fd": (number, [pointer, number]),
        "bpf_map__set_autocreate": (number, [pointer, ctypes.c_bool]),
        "bpf_map__initial_value": (pointer, [pointer, ctypes.POINTER(ctypes.c_size_t)]),
        "bpf_map_lookup_elem": (number, [number, pointer, pointer]),
        "bpf_map_update_elem": (number, [number, pointer, pointer, ctypes.c_uint64]),
        "bpf_map_delete_elem": (number, [number, pointer]),
        "bpf_map_update_batch": (
            number,
            [number, pointer, pointer, ctypes.POINTER(ctypes.c_uint32), pointer],
        ),
        "bpf_map_create": (number, [number, text, *3 * [ctypes.c_uint32], pointer]),
        "bpf_obj_get_info_by_fd": (number, [number, pointer, ctypes.POINTER(ctypes.c_uint32)]),
        "bpf_enable_stats": (number, [number]),
        "libbpf_set_print": (pointer, [_PRINT_TYPE]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _ignore_message(level: int, message: bytes, arguments: int) -> int:
    """libbpf's own chatter is dropped: every failure is raised with its errno instead."""
    return 0


_IGNORE_MESSAGES = _PRINT_TYPE(_ignore_message)


class Library:
    """The loaded libbpf; one per process, made at first use."""

    _instance: ctypes.CDLL | None = None

    @classmethod
    def get(cls) -> ctypes.CDLL:
        """The library; raises UnavailableError where it is not installed."""
        if cls._instance is None:
            cls._instance = _load_library()
            cls._instance.libbpf_set_print(_IGNORE_MESSAGES)
        return cls._instance


class BpfObject:
    """One compiled *.bpf.o: opened, adjusted, loaded, attached, and all freed by `close`.

    `programs`: names to load (the others are left out). `constants`: values for `const volatile` variables by
    name. `map_entries`: max_entries of maps by name. `shared_maps`: descriptors of another object's maps, in place
    of its own ones of these names.
    """

    def __init__(
        self,
        path: Path,
        programs: set[str] | None = None,
        constants: dict[str, int | bytes] | None = None,
        map_entries: dict[str, int] | None = None,
        shared_maps: dict[str, int] | None = None,
    ) -> None:
        if not os.access(path, os.R_OK):
            raise UnavailableError(
                f"The BPF program {path.name} is not built, or not readable ({path}).",
                "Build it: make bpf (needs clang, llvm and libbpf-dev).",
            )
        self._lib = Library.get()
        self.path = path
        self._links: list[int] = []
        self._memory: dict[str, mmap.mmap] = {}
        self._shared = shared_maps or {}
        self._object = self._lib.bpf_object__open_file(str(path).encode(), None)
        if not self._object:
            raise BpfError(f"Cannot open the BPF object {path}", ctypes.get_errno())
        self.programs = dict(self._each("bpf_object__next_program", "bpf_program__name"))
        self.maps = dict(self._each("bpf_object__next_map", "bpf_map__name"))
        try:
            self._prepare(programs, constants or {}, map_entries or {})
            self._load()
        except BaseException:
            self.close()
            raise

    def _each(self, step: str, name_of: str) -> Iterator[tuple[str, int]]:
        item = getattr(self._lib, step)(self._object, None)
        while item:
            yield getattr(self._lib, name_of)(item).decode(), item
            item = getattr(self._lib, step)(self._object, item)

    def _prepare(
        self, programs: set[str] | None, constants: dict[str, int | bytes], entries: dict[str, int]
    ) -> None:
        for name, program in self.programs.items():
            self._lib.bpf_program__set_autoload(program, programs is None or name in programs)
        for name, count in entries.items():
            self._lib.bpf_map__set_max_entries(self.maps[name], count)
        for name, fd in self._shared.items():
            if self._lib.bpf_map__reuse_fd(self.maps[name], fd):
                raise BpfError(f"Cannot share the map {name}", ctypes.get_errno())
        if constants:
            section = next(name for name in self.maps if name.endswith(".rodata"))
            size = ctypes.c_size_t()
            start = self._lib.bpf_map__initial_value(self.maps[section], ctypes.byref(size))
            for name, value in constants.items():
                offset, width = variables(self.path, ".rodata")[name]
                data = value if isinstance(value, bytes) else value.to_bytes(width, "little")
                ctypes.memmove(start + offset, data.ljust(width, b"\0")[:width], width)

    def _load(self) -> None:
        result = self._lib.bpf_object__load(self._object)
        if result < 0:
            raise BpfError(f"The kernel refused to load {self.path.name}", -result)

    def attach(self, program: str) -> int:
        """Attach by the program's section (tracepoint, tp_btf, …) and return its link."""
        return self._keep(self._lib.bpf_program__attach(self.programs[program]), program)

    def attach_uprobe(self, program: str, pid: int, path: str, offset: int) -> int:
        """Attach to a file offset in a file that `pid` maps (0: this process, -1: any)."""
        link = self._lib.bpf_program__attach_uprobe(self.programs[program], False, pid, path.encode(), offset)
        return self._keep(link, program)

    def attach_iterator(self, program: str) -> int:
        """Attach an `iter/…` program; returns a link to read with `read_iterator`."""
        return self._keep(self._lib.bpf_program__attach_iter(self.programs[program], None), program)

    def _keep(self, link: int | None, program: str) -> int:
        if not link:
            raise BpfError(f"Cannot attach {program}", ctypes.get_errno())
        self._links.append(link)
        return link

    def read_iterator(self, link: int) -> bytes:
        """Run an attached iterator once and return all it wrote."""
        fd = self._lib.bpf_iter_create(self._lib.bpf_link__fd(link))
        if fd < 0:
            raise BpfError("Cannot read a BPF iterator", ctypes.get_errno())
        with os.fdopen(fd, "rb", buffering=0) as stream:
            return b"".join(iter(lambda: stream.read(1 << 20) or b"", b""))

    def detach(self) -> None:
        """Detach every program; maps stay readable."""
        for link in reversed(self._links):
            self._lib.bpf_link__destroy(link)
        self._links.clear()

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program."""
        return int(self._lib.bpf_program__fd(self.programs[name]))

    def map_fd(self, name: str) -> int:
        """The descriptor of a map."""
        return int(self._lib.bpf_map__fd(self.maps[name]))

    def variable(self, name: str) -> npt.NDArray[np.uint8]:
        """The live bytes of a global variable in .bss or .data, readable and writable."""
        for section in (".bss", ".data"):
            found = variables(self.path, section).get(name)
            if found:
                offset, width = found
                return np.frombuffer(self._section(section), np.uint8, width, offset)
        raise KeyError(name)

    def _section(self, section: str) -> mmap.mmap:
        if section not in self._memory:
            name = next(name for name in self.maps if name.endswith(section))
            size = self._lib.bpf_map__value_size(self.maps[name])
            pages = (size + mmap.PAGESIZE - 1) & ~(mmap.PAGESIZE - 1)
            self._memory[section] = mmap.mmap(self.map_fd(name), pages)
        return self._memory[section]

    def run_time(self) -> tuple[int, int]:
        """(nanoseconds, runs) of all loaded programs; zero unless the kernel's BPF statistics are on."""
        fds = [self.program_fd(name) for name in self.programs]
        totals = [program_run_time(fd) for fd in fds if fd >= 0]
        return sum(ns for ns, _ in totals), sum(runs for _, runs in totals)

    def map_bytes(self) -> int:
        """Kernel memory of all maps but shared ones, as /proc/self/fdinfo tells it (memlock)."""
        own = [self.map_fd(name) for name in self.maps if name not in self._shared]
        return sum(memlock_bytes(fd) for fd in own if fd >= 0)

    def close(self) -> None:
        """Detach and free everything; safe to call twice."""
        self.detach()
        self._memory.clear()
        if self._object:
            self._lib.bpf_object__close(self._object)
            self._object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def memlock_bytes(map_fd: int) -> int:
    """Kernel memory of one map, as /proc/self/fdinfo tells it."""
    for line in Path(f"/proc/self/fdinfo/{map_fd}").read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    return 0


def _program_info(program_fd: int, offset: int, kind: type[np.unsignedinteger[Any]], count: int) -> list[int]:
    """Fields of struct bpf_prog_info (linux/bpf.h); zeros where the kernel is older than the field."""
    info = ctypes.create_string_buffer(256)
    size = ctypes.c_uint32(256)
    done = Library.get().bpf_obj_get_info_by_fd(program_fd, info, ctypes.byref(size))
    if done < 0:
        raise BpfError("Cannot read about a BPF program", -done)
    return [int(value) for value in np.frombuffer(info.raw, kind, count, offset)]


def program_run_time(program_fd: int) -> tuple[int, int]:
    """(nanoseconds, runs) of one program; they move only while the kernel's BPF statistics are on (5.1+)."""
    run_time_ns, runs = _program_info(program_fd, 192, np.uint64, 2)
    return run_time_ns, runs


def verified_instructions(program_fd: int) -> int:
    """How many instructions the verifier walked for one program, of the 1 M it allows (5.16+, else 0)."""
    return _program_info(program_fd, 216, np.uint32, 1)[0]


def add_keys(map_fd: int, keys: Iterable[int]) -> None:
    """Put u32 keys, each with the one-byte value 1, into a hash map that is used as a set."""
    for key in keys:
        number, value = ctypes.c_uint32(key), ctypes.c_uint8(1)
        done = Library.get().bpf_map_update_elem(map_fd, ctypes.byref(number), ctypes.byref(value), 0)
        if done < 0:
            raise BpfError("Cannot fill a BPF map", -done)


def set_value(map_fd: int, key: int, value: bytes) -> None:
    """Set the value of a u32 key."""
    done = Library.get().bpf_map_update_elem(map_fd, ctypes.byref(ctypes.c_uint32(key)), value, 0)
    if done < 0:
        raise BpfError("Cannot fill a BPF map", -done)


def set_numbers(map_fd: int, values: dict[int, int]) -> None:
    """Set the u32 values of u32 keys, with one system call where the kernel can (Linux 5.15 for arrays of maps):
    each change of one waits until no BPF program runs that could look at what was there."""
    if not values:
        return
    keys, numbers = (np.array(list(part), np.uint32) for part in (values.keys(), values.values()))
    done = ctypes.c_uint32(len(values))
    failed = Library.get().bpf_map_update_batch(
        map_fd, keys.ctypes.data, numbers.ctypes.data, ctypes.byref(done), None
    )
    if failed:
        for key, value in values.items():
            set_value(map_fd, key, value.to_bytes(4, "little"))


def remove_key(map_fd: int, key: int) -> None:
    """Remove a u32 key, if it is there."""
    done = Library.get().bpf_map_delete_elem(map_fd, ctypes.byref(ctypes.c_uint32(key)))
    if done < 0 and -done != errno.ENOENT:
        raise BpfError("Cannot change a BPF map", -done)


class _MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts (bpf/bpf.h), up to the flags; libbpf takes what is missing as zeros."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("unused", ctypes.c_uint32 * 5),
        ("map_flags", ctypes.c_uint32),
    )


_ARRAY, _MMAPABLE, _INNER_MAP = 2, 1 << 10, 1 << 12


def create_inner_array(name: str, value_bytes: int, entries: int) -> int:
    """The descriptor of a new array that can be mapped, and be put into an array of maps of any such sizes."""
    options = _MapOptions(size=ctypes.sizeof(_MapOptions), map_flags=_MMAPABLE | _INNER_MAP)
    made = Library.get().bpf_map_create(_ARRAY, name.encode(), 4, value_bytes, entries, ctypes.byref(options))
    if made < 0:
        raise BpfError("Cannot create a BPF map", -made)
    return int(made)


def array_values(map_fd: int, count: int) -> list[int]:
    """The first `count` values of an array map of u64."""
    values = []
    for index in range(count):
        number, value = ctypes.c_uint32(index), ctypes.c_uint64()
        done = Library.get().bpf_map_lookup_elem(map_fd, ctypes.byref(number), ctypes.byref(value))
        if done < 0:
            raise BpfError("Cannot read a BPF map", -done)
        values.append(value.value)
    return values


def enable_run_time_stats() -> Callable[[], None]:
    """Let the kernel count the run time of BPF programs until the returned function is called (5.8+)."""
    fd = Library.get().bpf_enable_stats(0)
    if fd < 0:
        raise BpfError("Cannot turn on BPF statistics", ctypes.get_errno())
    return lambda: os.close(fd)


def has_map_type(kind: int) -> bool:
    """Whether a map of this type (enum bpf_map_type) can be created here."""
    return bool(Library.get().libbpf_probe_bpf_map_type(kind, None) == 1)


def has_helper(program_type: int, helper: int) -> bool:
    """Whether programs of this type (enum bpf_prog_type) may call a helper (enum bpf_func_id) here."""
    return bool(Library.get().libbpf_probe_bpf_helper(program_type, helper, None) == 1)


_variables: dict[tuple[Path, str], dict[str, tuple[int, int]]] = {}


def variables(path: Path, section: str) -> dict[str, tuple[int, int]]:
    """Name → (offset, size) of the global variables in one section of a BPF object.

    Read from the ELF symbol table: clang leaves the offsets in BTF's DATASEC at 0.
    """
    key = (path, section)
    if key not in _variables:
        _variables[key] = _read_variables(path.read_bytes(), section)
    return _variables[key]


_SECTION = np.dtype(
    [("name", "<u4"), ("type", "<u4"), ("flags", "<u8"), ("addr", "<u8"), ("offset", "<u8"), ("size", "<u8"),
     ("link", "<u4"), ("info", "<u4"), ("align", "<u8"), ("entry", "<u8")]
)  # fmt: skip
_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_SHT_SYMTAB, _STT_OBJECT = 2, 1


def _read_variables(data: bytes, section: str) -> dict[str, tuple[int, int]]:
    start = int.from_bytes(data[40:48], "little")
    count, names_index = np.frombuffer(data, "<u2", 2, 60)
    sections = np.frombuffer(data, _SECTION, int(count), start)
    table = next(s for s in sections if s["type"] == _SHT_SYMTAB)
    symbols = np.frombuffer(data, _SYMBOL, int(table["size"]) // _SYMBOL.itemsize, int(table["offset"]))
    found = {}
    for symbol in symbols[(symbols["info"] & 15) == _STT_OBJECT]:
        home = sections[symbol["section"]]
        if _string(data, sections[names_index], home["name"]) == section:
            name = _string(data, sections[table["link"]], symbol["name"])
            found[name] = (int(symbol["value"]), int(symbol["size"]))
    return found


def _string(data: bytes, table: np.void, offset: int) -> str:
    start = int(table["offset"]) + int(offset)
    return data[start : data.index(b"\0", start)].decode()
