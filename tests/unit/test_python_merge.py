"""Python frames among native ones: what is kept of the interpreter, and what names are taken from the kernel."""

import ctypes
import os
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cpython import python_frames
from agent.cpython.find import Interpreter, Symbol
from agent.cpython.kernel_python import NAME
from agent.cpython.layout import known_layout
from agent.cpython.merge import is_call, without_calls
from agent.cpython.python_frames import UNKNOWN, PythonFrames, _Followed
from agent.cpython.symbols import PythonSymbols
from agent.cpython.words import are_words, is_word, without_words
from agent.object_files import ObjectFiles
from agent.process import Process
from agent.resolve import Resolver
from agent.samples import U64
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason, Losses
from tests.unit.rows import Row, captures
from tests.workloads.processes import process_of

WORD = 0x8000_1234_5678_9ABC


def native(name: str) -> Frame:
    return Frame(FrameKind.NATIVE, name, "libpython3.so")


def python(name: str) -> Frame:
    return Frame(FrameKind.PYTHON, name, "app.py")


def merged(*frames: Frame) -> list[str]:
    python = {at for at, frame in enumerate(frames) if frame.kind is FrameKind.PYTHON}
    calls = {at for at, frame in enumerate(frames) if is_call(frame)}
    return [frames[at].function for at in without_calls(range(len(frames)), python, calls)]


def test_frames_that_only_call_are_left_out_beside_a_python_function() -> None:
    assert merged(
        native("long_add"),
        python("key"),
        native("_PyEval_Vector"),
        native("_PyFunction_Vectorcall.part.0"),
        native("list_sort_impl"),
        native("_PyEval_Vector"),
        python("main"),
        native("PyObject_Call"),
        native("PyEval_EvalCode"),
        native("_start"),
    ) == ["long_add", "key", "list_sort_impl", "main", "PyEval_EvalCode", "_start"]


def test_a_leaf_that_calls_and_stacks_without_python_stay_whole() -> None:
    assert merged(native("_PyEval_Vector"), python("main")) == ["_PyEval_Vector", "main"]
    assert merged(native("_PyEval_Vector"), native("main")) == ["_PyEval_Vector", "main"]


@pytest.mark.parametrize("addr", [0, 4096, 2**47 - 1, 2**63 - 1, 2**64 - 2**24, 2**64 - 1, 3 << 62])
def test_no_address_is_a_word(addr: int) -> None:
    assert not is_word(addr)
    assert not are_words(np.array([addr], np.uint64)).any()


def test_words_are_words() -> None:
    assert is_word(WORD)
    assert are_words(np.array([WORD, 4096], np.uint64)).tolist() == [True, False]


def test_what_only_looks_like_a_word_is_made_an_address() -> None:
    addrs = np.array([WORD, WORD, 4096, 2**64 - 1], np.uint64)
    without_words(addrs, np.array([True, False, True, True]))
    assert addrs.tolist() == [WORD & (2**62 - 1), WORD, 4096, 2**64 - 1]


class Natives:
    """Names native addresses by their number."""

    def user_frames(self, process: Process, addrs: U64) -> list[Frame]:
        return [native(f"u{addr}") for addr in addrs.tolist()]

    def kernel_frames(self, addrs: U64) -> list[Frame]:
        return []

    def take_losses(self) -> Losses:
        return Losses()


class Names:
    """What the kernel sends, from memory."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.told: list[bytes] = []

    def set_process(self, pid: int, value: bytes) -> bool:
        self.told.append(value)
        return True

    def remove_process(self, pid: int) -> None:
        self.sent.clear()

    def take_names(self) -> list[bytes]:
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def own() -> Iterator[tuple[PythonFrames, Names, Process]]:
    """This very process, which runs CPython."""
    if known_layout(sys.version_info[:2]) is None:
        pytest.skip("the layout of this interpreter is told, not written down")
    kernel, process = Names(), process_of(os.getpid())
    files = ObjectFiles()
    for mapping in process.mappings:
        files.remember(process, mapping)
    frames = PythonFrames(kernel, files)  # type: ignore[arg-type]
    frames.follow(process)
    assert frames.follows(process)
    yield frames, kernel, process
    files.close()


def record(word: int, pid: int, line: int, file: str, function: str) -> bytes:
    """struct fp_python_name of a code object of this process."""
    texts = [ctypes.string_at(id(text), sys.getsizeof(text))[:256] for text in (file, function)]
    return NAME.pack(word, pid, line, len(texts[0]), len(texts[1])) + b"".join(texts)


def test_names_are_taken_for_the_processes_that_sent_them(own: tuple[PythonFrames, Names, Process]) -> None:
    frames, kernel, process = own
    kernel.sent = [
        record(WORD, process.pid, 7, "/app/shop.py", "Cart.add"),
        record(WORD, process.pid + 1, 8, "/app/other.py", "other"),
        record(WORD, process.pid, 7, "/app/shop.py", "Cart.add")[: NAME.size - 1],
    ]
    frames.learn()
    assert frames.frames(process, [WORD, WORD + 1]) == [
        Frame(FrameKind.PYTHON, "Cart.add", "shop.py", file="/app/shop.py", line=7),
        UNKNOWN,
    ]
    frames.forget(process.pid)
    assert frames.frames(process, [WORD]) == [UNKNOWN]
    assert frames.state() == (0, 0)


def test_a_stack_has_python_names_in_their_place_and_counts_missing_ones(
    own: tuple[PythonFrames, Names, Process],
) -> None:
    frames, kernel, process = own
    kernel.sent = [record(WORD, process.pid, 7, "/app/shop.py", "Cart.add")]
    frames.learn()
    symbols = PythonSymbols(Natives(), frames)
    resolver = Resolver(symbols)
    (ids,) = resolver.resolve(captures([Row(user=(100, WORD, 300, WORD + 1))]), [process])
    assert [resolver.frames[number].name for number in ids] == ["u100", "Cart.add", "u299", "[python]"]
    assert symbols.take_losses() == {DropReason.PYTHON_UNREADABLE: 1}
    assert not symbols.take_losses()


def test_a_name_that_comes_later_is_shown_from_then_on(own: tuple[PythonFrames, Names, Process]) -> None:
    frames, kernel, process = own
    process.mappings = [mapping for mapping in process.mappings if mapping.path]  # none of a JIT
    resolver = Resolver(PythonSymbols(Natives(), frames))
    rows = captures([Row(user=(WORD,))])
    seen = []
    for _ in range(2):
        (ids,) = resolver.resolve(rows, [process])
        seen.append(resolver.frames[ids[0]].name)
        kernel.sent = [record(WORD, process.pid, 7, "/app/shop.py", "Cart.add")]
        frames.learn()
    assert seen == ["[python]", "Cart.add"]


u64, i32 = st.integers(0, 2**64 - 1), st.integers(-(2**31), 2**31 - 1)
sizes = st.integers(0, 256) | st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(u64, i32, sizes, sizes, st.binary(max_size=512)), max_size=4))
def test_whatever_a_process_holds_is_a_frame_that_can_be_sent(
    records: list[tuple[int, int, int, int, bytes]],
) -> None:
    process = process_of(os.getpid())
    kernel = Names()
    frames = PythonFrames(kernel, ObjectFiles())  # type: ignore[arg-type]
    layout = known_layout((3, 12))
    assert layout
    found = Interpreter(layout, 0, Symbol(0, 0), ())
    frames._followed[process.pid] = _Followed(process, process.mappings, found, 0, 1)
    for word, line, file_bytes, function_bytes, texts in records:
        kernel.sent.append(NAME.pack(word, process.pid, line, file_bytes, function_bytes) + texts)
    frames.learn()
    for frame in frames.frames(process, [word for word, *_ in records]):
        assert 0 <= frame.line < 2**31
        for text in (frame.function, frame.mapping, frame.file):
            assert len(text.encode("utf-8")) <= 1024
            assert not set(text) & set(map(chr, range(32)))


def test_too_many_names_are_forgotten_and_asked_for_again(
    own: tuple[PythonFrames, Names, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, kernel, process = own
    monkeypatch.setattr(python_frames, "MAX_NAMES", 10)
    kernel.sent = [record(WORD + at, process.pid, 1, "/app/shop.py", f"f{at}") for at in range(11)]
    frames.learn()
    assert len(kernel.told) == 2
    assert kernel.told[0] != kernel.told[1]
    assert frames.frames(process, [WORD]) == [UNKNOWN]
    assert frames.state() == (1, 0)
