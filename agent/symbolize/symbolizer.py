"""From addresses to frames: the one door to this package.

The caller hands over each address once, already moved back by one where it is a return address.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from agent.mapped_files import MappedFiles
from agent.process import Mapping, Process
from agent.samples import I64, U64
from agent.symbolize.elf import ElfError, FileBytes
from agent.symbolize.jitdump import JitDump, JitName
from agent.symbolize.jitdumps import JitDumps
from agent.symbolize.kernel_symbols import KernelFrames
from agent.symbolize.load_object import load_object
from agent.symbolize.object_cache import FileKey, ObjectCache, file_key
from agent.symbolize.object_symbols import ObjectSymbols
from agent.symbolize.perf_map import PerfMap
from agent.symbolize.perf_maps import PerfMaps
from agent.symbolize.reading_cost import FILES_BURST_NS, ProcessBudgets, spending
from agent.symbolize.regions import is_file, is_memory_file, mapping_name, runtime_of
from agent.symbolize.runtime_names import JIT_MAPPING, runtime_name
from agent.symbolize.vdso import MAPPING as VDSO
from agent.symbolize.vdso import VdsoFrames
from fleetprof.demangle import shorten
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason, Losses

UNMAPPED = Frame(FrameKind.NATIVE, "", "[unmapped]")


class RuntimeMaps(Protocol):
    """Perf maps that runtimes are asked for (agent.jvm.refresh.JvmMaps)."""

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        ...

    def maps_of(self, process: Process) -> list[PerfMap]:
        """What is known of the code of a process, newest first."""
        ...

    def refuses(self, process: Process) -> bool:
        """Whether the process was asked in vain."""
        ...


class Seen(Protocol):
    """Is told which files samples lie in (agent.debug_offers.sightings.Sightings)."""

    def see(
        self, key: FileKey, fd: int, path: str, pid: int, symbols: ObjectSymbols, frames: list[Frame]
    ) -> None:
        """Frames of a file were looked up; `fd` stays the caller's."""
        ...


class Symbolizer:
    """Symbols of all processes and of the kernel. Not thread-safe: the pipeline's thread owns it.

    `memory_limit_bytes` bounds symbol tables and names (three quarters), perf maps and jitdumps (an eighth each).
    """

    def __init__(
        self,
        files: MappedFiles,
        memory_limit_bytes: int = 64 << 20,
        kallsyms: Path = Path("/proc/kallsyms"),
        kernel_notes: Path = Path("/sys/kernel/notes"),
        asked: RuntimeMaps | None = None,
        seen: Seen | None = None,
    ) -> None:
        self._files = files
        self._limit = memory_limit_bytes * 3 // 4
        self._objects = ObjectCache(self._limit)
        self._loading = ProcessBudgets(FILES_BURST_NS)
        self._maps = PerfMaps(memory_limit_bytes // 8)
        self._dumps = JitDumps(files, memory_limit_bytes // 8)
        self._asked, self._seen = asked, seen
        self._kernel = KernelFrames(kallsyms, kernel_notes)
        self._vdso = VdsoFrames()
        self._losses = Losses()

    @property
    def nbytes(self) -> int:
        """Memory in use for symbols, as far as it is accounted."""
        asked = self._asked.nbytes if self._asked else 0
        return self._objects.nbytes + self._maps.nbytes + self._dumps.nbytes + asked + self._kernel.nbytes

    @property
    def kernel_notice(self) -> str:
        """Why kernel frames have no names, for people; "" when they have (known after the first look-up)."""
        return self._kernel.notice

    @property
    def bad_perf_map_lines(self) -> int:
        """Lines of perf maps that could not be understood and were skipped, since the start."""
        return self._maps.bad_lines

    def take_losses(self) -> Losses:
        """Addresses left without a name since the last call, by reason: each once per look-up that asked.

        OBJECT_UNREADABLE: its file could not be opened or is damaged. SYMBOL_LIMIT: the symbols of its file,
        or the perf map or jitdump that might name it, are larger than the limit, or took more time than one process
        may take. RUNTIME_NAMES: it is code that a Java VM compiled, which does not tell its names.
        """
        losses, self._losses = self._losses, Losses()
        return losses

    def refresh(self, process: Process) -> None:
        """Read what the process's runtime added to its perf map or jitdump. Called when a process is about to end,
        so that its last functions keep their names; look-ups do it by themselves."""
        self._sources(process)

    def kernel_frames(self, addrs: U64) -> list[Frame]:
        """One frame per kernel address, in order."""
        return self._kernel.frames(addrs)

    def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
        """One frame per address of `process`, in order; what has no name says where it lies."""
        if not len(addrs):
            return []
        frames = [UNMAPPED] * len(addrs)
        for mapping, rows in _by_mapping(process.mappings, addrs):
            if mapping is None:
                continue
            for row, frame in zip(
                rows.tolist(), self._in_mapping(process, mapping, addrs[rows]), strict=True
            ):
                frames[row] = frame
        self._name_made_code(process, addrs, frames)
        return frames

    def build_places(self, process: Process, addrs: U64) -> list[tuple[str, int]]:
        """(build id, offset in its file) of each address; ("", 0) for one in no file that has a build id."""
        places = [("", 0)] * len(addrs)
        for mapping, rows in _by_mapping(process.mappings, addrs):
            build_id = self._build_id(process, mapping) if mapping and is_file(mapping) else ""
            if mapping and build_id:
                shift = mapping.file_offset - mapping.start_addr
                for row, addr in zip(rows.tolist(), addrs[rows].tolist(), strict=True):
                    places[row] = (build_id, addr + shift)
        return places

    def _build_id(self, process: Process, mapping: Mapping) -> str:
        try:
            fd = self._files.fd(mapping)
            return "" if fd is None else self._object(file_key(fd), FileBytes(fd), process, mapping).build_id
        except (ElfError, OSError):
            return ""

    def _in_mapping(self, process: Process, mapping: Mapping, addrs: U64) -> list[Frame]:
        """Frames by file; addresses in memory that is no file become "[jit]"."""
        offsets = addrs - np.uint64(mapping.start_addr) + np.uint64(mapping.file_offset)
        if mapping.path == VDSO:
            return self._vdso.frames(process, mapping, offsets, self._losses)
        if is_file(mapping):
            return self._in_file(process, mapping, offsets)
        if mapping.path == "[vsyscall]":
            return [Frame(FrameKind.NATIVE, "", "[vsyscall]")] * len(addrs)
        return [Frame(runtime_of(process), "", JIT_MAPPING)] * len(addrs)

    def _in_file(self, process: Process, mapping: Mapping, offsets: U64) -> list[Frame]:
        try:
            fd = self._files.fd(mapping)
            if fd is None:
                raise ElfError("cannot be opened")
            own = FileBytes(fd)
            key = file_key(fd)
        except (ElfError, OSError):
            return self._without_file(process, mapping, offsets)
        symbols = self._object(key, own, process, mapping)
        if symbols.loss and is_memory_file(mapping):
            return [Frame(runtime_of(process), "", JIT_MAPPING)] * len(offsets)
        if symbols.loss:
            self._losses[symbols.loss] += len(offsets)
        known = len(symbols.names)
        frames = symbols.frames(own, offsets, mapping_name(mapping.path))
        if len(symbols.names) != known:
            self._objects.charge(key)
        if self._seen:
            self._seen.see(key, fd, mapping.path, process.pid, symbols, frames)
        return frames

    def _without_file(self, process: Process, mapping: Mapping, offsets: U64) -> list[Frame]:
        if is_memory_file(mapping):
            return [Frame(runtime_of(process), "", JIT_MAPPING)] * len(offsets)
        self._losses[DropReason.OBJECT_UNREADABLE] += len(offsets)
        name = mapping_name(mapping.path)
        return [Frame(FrameKind.NATIVE, "", name, "", offset) for offset in offsets.tolist()]

    def _object(self, key: FileKey, own: FileBytes, process: Process, mapping: Mapping) -> ObjectSymbols:
        symbols = self._objects.get(key)
        if symbols is None:
            budget = self._loading.of(process)
            if budget.wait_ns():
                return ObjectSymbols(loss=DropReason.SYMBOL_LIMIT)
            path = mapping.path.removesuffix(" (deleted)")
            with spending(budget):
                symbols = load_object(own, path, (f"/proc/{process.pid}/root", "/"), self._limit)
            self._objects.put(key, symbols)
        return symbols

    def _name_made_code(self, process: Process, addrs: U64, frames: list[Frame]) -> None:
        """Give names to frames that have none, from what the process's runtime tells of the code it made."""
        missing = [row for row, frame in enumerate(frames) if not frame.function]
        sources = self._sources(process) if missing else []
        runtime = runtime_of(process) if sources else FrameKind.JIT
        for source in sources:
            for row, code in zip(missing, _codes(source, addrs[missing]), strict=True):
                if code.name:
                    frames[row] = _frame_of(code, runtime)
            missing = [row for row in missing if not frames[row].function]
        unnamed = sum(frames[row].mapping == JIT_MAPPING for row in missing)
        if any(source.full for source in sources):
            self._losses[DropReason.SYMBOL_LIMIT] += unnamed
        elif unnamed and self._asked and self._asked.refuses(process):
            self._losses[DropReason.RUNTIME_NAMES] += unnamed

    def _sources(self, process: Process) -> list[PerfMap | JitDump]:
        """What names the process's run-time code; a map that was asked for is newer than one that lies in /tmp."""
        asked = self._asked.maps_of(process) if self._asked else []
        known = None if asked else self._maps.get(process)
        return [*asked, *([known] if known is not None else []), *self._dumps.get(process)]


def _codes(source: PerfMap | JitDump, addrs: U64) -> list[JitName]:
    if isinstance(source, JitDump):
        return source.names(addrs)
    return [JitName(name) for name in source.names(addrs)]


def _frame_of(code: JitName, runtime: FrameKind) -> Frame:
    found = runtime_name(code.name, runtime)
    file, line = (found.file, found.line) if found.file else (shorten(code.file), code.line)
    return Frame(found.kind, found.function, found.mapping, file=file, line=line)


def _by_mapping(mappings: list[Mapping], addrs: U64) -> list[tuple[Mapping | None, I64]]:
    """(mapping, rows of the addresses in it); None for addresses in no mapping."""
    starts = np.array([mapping.start_addr for mapping in mappings], np.uint64)
    ends = np.array([mapping.end_addr for mapping in mappings], np.uint64)
    index = np.searchsorted(starts, addrs, side="right").astype(np.int64) - 1
    if len(mappings):
        index[(index >= 0) & (addrs >= ends[np.maximum(index, 0)])] = -1
    order = np.argsort(index, kind="stable")
    numbers, first = np.unique(index[order], return_index=True)
    groups = np.split(order, first[1:])
    return [
        (mappings[number] if number >= 0 else None, rows)
        for number, rows in zip(numbers.tolist(), groups, strict=True)
    ]
