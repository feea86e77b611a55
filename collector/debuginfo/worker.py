"""The process that reads debug information: one job on one file, confined, then it ends.

Started by `workers.py` as `python -m collector.debuginfo.worker`; the file is one of its descriptors, the job a
JSON object on standard input, the answer one on standard output. Whoever wrote the file may take this process
over, but not out of it: the answer is all that it can say.
"""

import json
import mmap
import os
import sys
from typing import Any

import cffi
from symbolic.debuginfo import Archive
from symbolic.exceptions import SymbolicError
from symbolic.symcache import SymCache

from collector.debuginfo.confine import CannotConfine, confine
from collector.debuginfo.jobs import MAX_INLINED, NOT_CONFINED
from collector.debuginfo.segments import NotElf, read_segments
from fleetprof.demangle import readable, shorten
from fleetprof.frames import FrameKind

Json = dict[str, Any]

_FFI = cffi.FFI()
_KINDS = {"rust": FrameKind.RUST, "go": FrameKind.GO}


def main() -> None:
    """Do the job of standard input."""
    job = json.loads(sys.stdin.buffer.read())
    readable("_Z1fv")  # loads the C++ library, which cannot be opened later
    mapped = mmap.mmap(job["file"], 0, prot=mmap.PROT_READ)
    data = _FFI.from_buffer("uint8_t[]", mapped)
    try:
        confine(job["memory_bytes"], job["cpu_s"], job["written_bytes"])
    except (CannotConfine, OSError) as error:
        print(f"cannot confine the worker: {error}", file=sys.stderr)
        os._exit(NOT_CONFINED)
    try:
        answer = _JOBS[job["job"]](data, job)
    except (NotElf, SymbolicError) as error:
        answer = {"problem": str(error) or type(error).__name__}
    except MemoryError:
        answer = {"problem": "it needs more memory than is allowed"}
    _write(json.dumps(answer).encode("ascii"), sys.stdout.fileno())
    os._exit(0)  # what there is to clean up may have been overwritten


def _write(data: bytes, fd: int) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _inspect(data: Any, job: Json) -> Json:
    """What the file is: build id, whether it has lines or only symbols, where its code lies."""
    segments, base = read_segments(memoryview(_FFI.buffer(data)))
    found = _object(data)
    features = found.features
    return {
        "build_id": found.code_id or "",
        "lines": "debug" in features,
        "symbols": "symtab" in features,
        "segments": [list(segment) for segment in segments],
        "base": base,
    }


def _object(data: Any) -> Any:
    objects = list(Archive.from_bytes(data).iter_objects())
    if len(objects) != 1 or objects[0].file_format != "elf":
        raise NotElf("it is no ELF file")
    return objects[0]


def _convert(data: Any, job: Json) -> Json:
    """Write what is needed for look-ups to the descriptor `output`."""
    stream = _object(data).make_symcache().open_stream()
    while part := stream.read(1 << 20):
        _write(part, job["output"])
    return {}


def _look_up(data: Any, job: Json) -> Json:
    """The functions at each address (distance from the image's start), innermost first.

    `texts`: names and files; `found[i]`: rows (name, kind, file, line, line where the function starts or 0).
    """
    cache = SymCache.from_bytes(data)  # type: ignore[no-untyped-call]
    look_up = _LookUp(cache)
    found = [look_up.functions(address) for address in job["addresses"]]
    return {"texts": list(look_up.texts), "found": found}


class _LookUp:
    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._starts: dict[int, int] = {}
        self.texts: dict[str, int] = {}

    def functions(self, address: int) -> list[tuple[int, int, int, int, int]]:
        locations = self._cache.lookup(address)
        if len(locations) > MAX_INLINED:
            locations = [*locations[: MAX_INLINED - 1], locations[-1]]
        rows = []
        for place, location in enumerate(locations):
            name, kind = readable(location.symbol or "")
            if not name or name == "?":
                continue
            kind = _KINDS.get(location.lang, kind)
            start = self._start_line(location.sym_addr) if place == len(locations) - 1 else 0
            file = shorten(location.full_path or "")
            rows.append((self._text(name), int(kind), self._text(file), location.line, start))
        return rows

    def _start_line(self, address: int) -> int:
        if address not in self._starts:
            locations = self._cache.lookup(address)
            self._starts[address] = locations[-1].line if locations else 0
        return self._starts[address]

    def _text(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))


_JOBS = {"inspect": _inspect, "convert": _convert, "look_up": _look_up}

if __name__ == "__main__":
    main()
