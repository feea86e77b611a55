"""The process that reads debug information: it tells what binutils tell, and hostile files at most end it."""

import functools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.debuginfo.files import DebugFile
from collector.debuginfo.segments import NotElf, read_segments
from collector.debuginfo.workers import Function, WorkerFailed, WorkerLimits, Workers
from fleetprof.errors import UnavailableError
from fleetprof.frames import FrameKind
from tests.workloads.build import tool
from tests.workloads.stripped import Stripped, build_stripped

LANGUAGES = ("cpp", "rust")
LIMITS = WorkerLimits(memory_bytes=1 << 30, cpu_s=60, wall_s=300)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> "functools._lru_cache_wrapper[Stripped]":
    """A function of the language; each is built once."""
    return functools.cache(lambda language: build_stripped(language, tmp_path_factory.mktemp(language)))


@pytest.fixture
def workers() -> Iterator[Workers]:
    found = Workers(LIMITS)
    yield found
    found.close()


def as_kept(path: Path, workers: Workers) -> DebugFile:
    with path.open("rb") as file:
        found = workers.inspect(file)
    return DebugFile(
        found.build_id, "v", path.name, 1, found.lines, tuple(found.segments), found.base, uploaded_s=0.0
    )


def look_up(path: Path, workers: Workers, addresses: list[int]) -> list[list[Function]]:
    with path.open("rb") as file, tempfile.TemporaryFile() as cache:
        workers.convert(file, cache)
        cache.flush()
        return workers.look_up(cache, addresses)


def code_of(path: Path, symbol: str) -> tuple[int, int]:
    """(address, size) of the function whose name has `symbol` in it."""
    lines = subprocess.run(
        [tool("nm"), "-SC", path], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    (found,) = [line.split() for line in lines if re.search(rf" [tTW] .*{symbol}", line)]
    return int(found[0], 16), int(found[1], 16)


def told_by_binutils(path: Path, addresses: list[int]) -> list[list[tuple[str, int]]]:
    """Functions (less arguments) and lines at each address, innermost first, by addr2line."""
    command = [tool("addr2line"), "-aifC", "-e", str(path), *map(hex, addresses)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: list[list[tuple[str, int]]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("0x"):
            found.append([])
        else:
            number = next(lines).split()[0].rpartition(":")[2]
            found[-1].append((bare(line), int(number) if number.isdigit() else 0))
    return found


def bare(function: str) -> str:
    """The last part of a function's name: binutils leave out namespaces of some inlined functions."""
    return function.partition("(")[0].partition("<")[0].rpartition("::")[2]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kept", ["whole", "debug"])
def test_names_lines_and_inlined_functions_are_those_of_binutils(
    built: "functools._lru_cache_wrapper[Stripped]", workers: Workers, language: str, kept: str
) -> None:
    files = built(language)
    start, size = code_of(files.whole, "Cart.*total")
    addresses = list(range(start, start + size))
    path: Path = getattr(files, kept)
    base = as_kept(path, workers).base
    found = look_up(path, workers, [address - base for address in addresses])
    assert [[(bare(f.name), f.line) for f in functions] for functions in found] == told_by_binutils(
        files.whole, addresses
    )
    deepest = max(found, key=len)
    assert [bare(function.name) for function in deepest][-3:] == ["taxed", "add_up", "total"]
    assert {function.kind for function in deepest} == {
        FrameKind.RUST if language == "rust" else FrameKind.NATIVE
    }
    assert Path(deepest[-1].file).name == f"inlined.{'rs' if language == 'rust' else 'cc'}"


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("ld.bfd", ("-fuse-ld=bfd",)),
        ("ld.bfd", ("-fuse-ld=bfd", "-no-pie")),
        ("ld.bfd", ("-fuse-ld=bfd", "-static")),
        ("ld.bfd", ("-fuse-ld=bfd", "-Wl,-z,noseparate-code")),
        ("ld.gold", ("-fuse-ld=gold", "-Wl,--build-id")),
        ("ld.lld", ("-fuse-ld=lld", "-Wl,--build-id")),
        ("ld.lld", ("-fuse-ld=lld", "-Wl,--build-id", "-no-pie", "-Wl,-z,separate-code")),
    ],
)
def test_where_code_was_is_seen_in_a_file_without_code(
    tmp_path: Path, compiler: str, flags: tuple[str, ...]
) -> None:
    tool(compiler)
    files = build_stripped("cpp", tmp_path, *flags)
    whole = read_segments(files.whole.read_bytes())
    assert whole[0]
    assert read_segments(files.debug.read_bytes()) == whole == read_segments(files.stripped.read_bytes())


@given(st.binary(max_size=300), st.integers(0, 63), st.binary(min_size=1, max_size=8))
def test_any_bytes_are_segments_or_no_elf_file(tail: bytes, place: int, patch: bytes) -> None:
    header = bytearray(b"\x7fELF\x02\x01\x01" + bytes(57))
    header[32:40], header[54:58] = (64).to_bytes(8, "little"), b"\x38\0\x04\0"
    header[place : place + len(patch)] = patch
    with suppress(NotElf):
        segments, base = read_segments(bytes(header) + tail)
        assert all(value >= 0 for segment in segments for value in segment)
        assert base >= 0


ESCAPES = {
    "a file": "open('/etc/passwd')",
    "a new file": "open('/tmp/fleetprof-escaped', 'w')",
    "a folder": "__import__('os').listdir('/')",
    "a socket": "__import__('socket').socket()",
    "a program": "__import__('os').execv('/bin/true', ['true'])",
    "a process": "__import__('os').fork()",
    "a signal to the parent": "__import__('os').kill(__import__('os').getppid(), 0)",
    "another's memory": "__import__('ctypes').CDLL(None, use_errno=True).ptrace(16, 1, 0, 0) or 1 / 0",
}


@pytest.mark.parametrize("what", ESCAPES)
def test_a_worker_that_was_taken_over_reaches_nothing(what: str) -> None:
    """Each is refused by the kernel: PermissionError, or no success for ptrace."""
    code = (
        "import os, socket, ctypes\n"
        "from collector.debuginfo.confine import confine\n"
        "confine(256 << 20, 10, 1 << 20)\n"
        f"try:\n    {ESCAPES[what]}\n"
        "except PermissionError: os.write(1, b'refused')\n"
        "else: os.write(1, b'done' if 'ptrace' not in " + repr(ESCAPES[what]) + " else b'refused')\n"
        "os._exit(0)"
    )
    if "ptrace" in ESCAPES[what]:
        code = code.replace(ESCAPES[what], "assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == -1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("refused", "")


def run_worker_on(code: str, limits: WorkerLimits, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why a job failed whose worker is taken over and runs `code`."""
    workers = Workers(limits)
    start = subprocess.Popen

    def taken_over(command: list[str], **options: object) -> "subprocess.Popen[bytes]":
        return start([command[0], "-c", code], **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "Popen", taken_over)
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
        file.flush()
        with pytest.raises(WorkerFailed) as failed:
            workers.look_up(file, [1])
    return str(failed.value)


CONFINED = "import os\nfrom collector.debuginfo.confine import confine\nconfine({}, 60, 16 << 20)\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("while True: pass", "longer than 2 s"),
        ("import time; time.sleep(1000)", "longer than 2 s"),
        (CONFINED.format(1 << 20) + "x = bytes(64 << 20)", "MiB of memory"),
        ("import os; os.abort()", "MiB of memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "damaged"),
        ("print('[' * 100000)", "makes no sense"),
        ("print('{}')", "make no sense"),
        ('print(r\'{"texts": ["a"], "found": [[[0, 1, 5, 1, 1]]]}\')', "make no sense"),
        ('print(r\'{"texts": ["a"], "found": [[[0, -1, 0, 1, 1]]]}\')', "make no sense"),
        ('print(r\'{"texts": [7], "found": [[]]}\')', "make no sense"),
        ('print(r\'{"texts": [], "found": [[], []]}\')', "make no sense"),
        ("import sys; sys.stdout.write('x' * (17 << 20))", "makes no sense"),
        ('print(r\'{"problem": "a\\u0000b\\nc"}\')', "cannot be read: a?b."),
    ],
)
def test_what_a_worker_does_ends_as_a_sentence(code: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = WorkerLimits(memory_bytes=1 << 30, cpu_s=60, wall_s=2 if "longer" in said else 60)
    assert said in run_worker_on(code, limits, monkeypatch)


def test_a_file_that_needs_too_much_memory_is_named_as_such(
    built: "functools._lru_cache_wrapper[Stripped]",
) -> None:
    workers = Workers(WorkerLimits(memory_bytes=1 << 20, cpu_s=60, wall_s=300))
    with (
        built("rust").whole.open("rb") as file,
        tempfile.TemporaryFile() as cache,
        pytest.raises(WorkerFailed, match="memory"),
    ):
        workers.convert(file, cache)


def test_a_worker_that_cannot_start_is_not_the_files_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "symbolic.py").write_text("raise ImportError('its library is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    with tempfile.TemporaryFile() as file, pytest.raises(UnavailableError, match="its library is missing"):
        Workers(LIMITS).look_up(file, [1])


def mutated(data: bytes, seed: int) -> bytes:
    """Bytes overwritten, moved, cut off, or numbers set to extremes."""
    chance = random.Random(seed)
    found = bytearray(data)
    for _ in range(chance.choice([1, 4, 32, 256])):
        at = chance.randrange(len(found))
        match chance.randrange(4):
            case 0:
                found[at] = chance.randrange(256)
            case 1:
                size = chance.choice([1, 2, 4, 8])
                found[at : at + size] = chance.choice([b"\xff", b"\x7f", b"\0", b"\x80"]) * size
            case 2:
                other = chance.randrange(len(found))
                found[at : at + 64] = found[other : other + 64]
            case _:
                # The section and program headers are where lies reach far.
                head = chance.randrange(min(len(found), 64 + 56 * 13))
                found[head] = chance.randrange(256)
    return bytes(found[: chance.randrange(1, len(found))] if chance.random() < 0.1 else found)


MUTATED = int(os.environ.get("FLEETPROF_MUTATED", "24"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_mutated_files_end_as_names_or_sentences(
    built: "functools._lru_cache_wrapper[Stripped]", language: str, tmp_path: Path
) -> None:
    workers = Workers(WorkerLimits(memory_bytes=512 << 20, cpu_s=20, wall_s=200))
    files = built(language)
    data = files.debug.read_bytes()
    addresses = list(range(0x1000, 0x3000, 16))
    for seed in range(MUTATED // 2):
        path = tmp_path / "mutated"
        path.write_bytes(mutated(data, seed))
        try:
            file = as_kept(path, workers)
            assert all(address is None or address >= 0 for address in map(file.address, addresses))
            for functions in look_up(path, workers, addresses):
                assert all(function.name for function in functions)
        except WorkerFailed as failed:
            json.dumps(str(failed))
