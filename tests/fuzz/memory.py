"""What the agent reads of the kernel, of processes' memory and of their words about themselves."""

import contextlib
import os
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cryptography.hazmat.primitives.serialization import Encoding

from agent import perf_records
from agent.cpython.kernel_python import NAME
from agent.cpython.layout import DEBUG_OFFSETS_BYTES, TextLayout, told_layout
from agent.cpython.python_frames import PythonFrames
from agent.cpython.texts import text_of
from agent.identify.identifier import ENVIRONMENT_NAMES, HostIdentity, Identifier
from agent.jvm.target import facts_of
from agent.process import Mapping, Process
from agent.process_reader import VariableNames, command_line_of, maps_of, namespace_pid_of, stat_of
from agent.process_reader import text_of as kernel_text
from agent.ring import CAPTURE, captures_of
from agent.symbolize.elf import split_notes
from agent.symbolize.kallsyms import KernelSymbols
from agent.symbolize.runtime_names import runtime_name
from collector.certificates import make_authority
from fleetprof.certificate_dates import validity_s
from fleetprof.demangle import readable
from fleetprof.frames import FrameKind
from fleetprof.series import MAX_LABEL_VALUE_BYTES
from tests.fuzz.binary import BinaryInputs, Field, Seed, words
from tests.fuzz.interpreter_image import CODE_OFFSET, interpreter_image
from tests.fuzz.subject import Subject, Wrong
from tests.unit import perf_record_bytes, test_python_layout
from tests.unit.tls_files import VALID

GOLDEN = Path(__file__).parents[1] / "golden" / "symbols"
MAX_NAME_BYTES = 1024


class _Part(NamedTuple):
    """One reader of several: an input's first byte says which."""

    read: Callable[[bytes], object]
    seeds: Sequence[Seed]


def _of_parts(*parts: _Part) -> Subject:
    seeds = [
        Seed(bytes([number]) + seed.data, [Field(at + 1, size) for at, size in seed.fields])
        for number, part in enumerate(parts)
        for seed in part.seeds
    ]

    def feed(data: bytes) -> bool:
        return bool(data) and bool(parts[data[0] % len(parts)].read(data[1:]))

    return _subject(feed, seeds)


def _subject(feed: Callable[[bytes], bool], seeds: list[Seed]) -> Subject:
    def inputs(chance: random.Random) -> BinaryInputs:
        return BinaryInputs(chance, seeds)

    return Subject(feed, [seed.data for seed in seeds], inputs)


def _records() -> Subject:
    """Records of BPF programs and of perf: what they hold is a process's."""
    return _of_parts(_Part(_read_captures, _capture_seeds()), _Part(_read_perf, _perf_seeds()))


def _capture_seeds() -> list[Seed]:
    row = np.zeros(1, CAPTURE)
    row["pid"], row["type"], row["value_ns"], row["comm"] = 7, 1, 10**7, b"python3"
    seeds = []
    for users, kernels, kind in ((2, 1, 1), (0, 0, 3), (40, 9, 3)):
        row["user_depth"], row["kernel_depth"], row["type"], row["runq_ns"] = users, kernels, kind, kind - 1
        data = row.tobytes() + np.arange(0x1000, 0x1000 + users + kernels, dtype="<u8").tobytes()
        seeds.append(
            Seed(data, [*words(data, 0, CAPTURE.itemsize), Field(36, 2), Field(38, 1), Field(39, 1)])
        )
    return seeds


def _read_captures(data: bytes) -> int:
    """The input as a record among others, whose own content must stay what it is."""
    (known,) = [seed.data for seed in _capture_seeds()[:1]]
    space = [known, data, known]
    starts, at = [], 0
    for record in space:
        starts.append(at)
        at += (len(record) + 8 + 7) & ~7
    content = np.zeros(at, np.uint8)
    for start, record in zip(starts, space, strict=True):
        content[start : start + len(record)] = np.frombuffer(record, np.uint8)
    captures, _ = captures_of(
        content, np.array(starts, np.int64), np.array([len(record) for record in space], np.int64)
    )
    first = captures.user.addrs[: captures.user.starts[1]].tolist()
    if first != [0x1000, 0x1001] or not 2 <= len(captures) <= 4:
        raise Wrong(f"another record's addresses became {first}")
    return len(captures) > 2


def _perf_seeds() -> list[Seed]:
    record = perf_record_bytes
    chain = [record.KERNEL, 1 << 63, record.USER, 0x401000, 0x402000]
    data = b"".join(
        [
            record.comm(7, 7, b"python3", 1, exec_=True),
            record.fork(7, 1, 8, 7, 2),
            record.mmap2(7, 0x1000, 0x2000, 0, b"/bin/x", (8, 1), 12, 3),
            record.sample(7, 8, 4, chain),
            record.lost(3, 5),
            record.exit_(7, 8, 6),
        ]
    )
    return [Seed(data, [Field(at, size) for at in range(0, len(data) - 8, 4) for size in (2, 4, 8)])]


def _read_perf(data: bytes) -> int:
    kinds = perf_records.RecordType
    readers: dict[int, Callable[[bytes], object]] = {
        kinds.COMM: perf_records.comm_of,
        kinds.FORK: perf_records.task_of,
        kinds.EXIT: perf_records.task_of,
        kinds.MMAP2: perf_records.mmap2_of,
    }
    records, _ = perf_records.split(data)
    for record in records:
        if record.type in readers:
            readers[record.type](record.data)
        if record.type in (kinds.LOST, kinds.LOST_SAMPLES):
            perf_records.lost_of(record)
    samples = [r.data for r in records if r.type == kinds.SAMPLE and perf_records.chain_fits(r.data)]
    if samples:
        perf_records.samples_of(samples)
    return len(records)


class _Kernel:
    """The names that a BPF program sent."""

    def __init__(self) -> None:
        self.names: list[bytes] = []

    def take_names(self) -> list[bytes]:
        return self.names

    def set_process(self, pid: int, value: bytes) -> bool:
        return True

    def remove_process(self, pid: int) -> None:
        pass


def _python_names() -> Subject:
    """Structures of CPython as the BPF program reads them of a process's memory."""
    return _of_parts(
        _Part(_NameReader().read, _name_seeds()),
        _Part(_read_text, [Seed(bytes([at]) + text) for at in range(3) for text in _texts()]),
        _Part(_read_told, _told_seeds()),
    )


def _texts() -> list[bytes]:
    """str objects of 3.11 up to their ends: ASCII, Latin 1, of two bytes, of four."""
    found = []
    for text, width, start in (("shop.total", 1, 48), ("kaufe_é", 1, 72), ("買う", 2, 72), ("𝕏y", 4, 72)):
        state = (width | 8 | (16 if text.isascii() else 0)) << 2
        head = struct.pack("<QQQQQ", 1, 2, len(text), 3, state).ljust(start, b"\0")
        codec = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[width]
        found.append(head + text.encode(codec))
    return found


def _name_seeds() -> list[Seed]:
    seeds = []
    for text in _texts():
        data = NAME.pack(2 << 62 | 77, 7, 12, len(text), len(text)) + text + text
        fields = [Field(0, 8), *(Field(at, 4) for at in range(8, 24, 4))]
        seeds.append(Seed(data, [*fields, *words(data, 24, size=8)]))
    return seeds


class _OneFile:
    """The open file of every mapping."""

    def __init__(self, data: bytes) -> None:
        self._fd = os.memfd_create("interpreter")
        os.write(self._fd, data)

    def fd(self, mapping: Mapping) -> int:
        return self._fd


class _NameReader:
    """The agent's own table of names, of one process; names of all inputs stay, up to its bound."""

    def __init__(self) -> None:
        self._kernel = _Kernel()
        self._python = PythonFrames(self._kernel, _OneFile(interpreter_image()))  # type: ignore[arg-type]
        exe = "/usr/bin/python3"
        code = Mapping(0x55D000000000, 0x55D000001000, CODE_OFFSET, exe, 1, 1)
        self._process = Process(7, 7, 1, "python3", exe, mappings=[code])
        self._python.follow(self._process)
        assert self._python.follows(self._process)

    def read(self, data: bytes) -> int:
        """One record; whether it names anything."""
        self._kernel.names = [data]
        self._python.learn()
        word = int.from_bytes(data[:8], "little")
        (frame,) = self._python.frames(self._process, [word])
        if len(frame.function.encode()) > MAX_NAME_BYTES or len(frame.file.encode()) > MAX_NAME_BYTES:
            raise Wrong(f"a name of {len(frame.function)} characters")
        return bool(frame.function)


def _read_text(data: bytes) -> str:
    if not data:
        return ""
    layout = (TextLayout(), TextLayout(ascii_data=48, wide_data=72), TextLayout(kind_shift=16))[data[0] % 3]
    text = text_of(data[1:], layout)
    text.encode()
    if len(text) > len(data):
        raise Wrong(f"{len(text)} characters of {len(data)} bytes")
    return text


def _told_seeds() -> list[Seed]:
    told = [
        test_python_layout.told(0x030D00F0, *test_python_layout.V313),
        test_python_layout.told(0x030E00F0, *test_python_layout.V314),
    ]
    return [Seed(data, [Field(at, 8) for at in range(0, len(data) - 7, 8)]) for data in told]


def _read_told(data: bytes) -> bool:
    layout = told_layout(data[:DEBUG_OFFSETS_BYTES])
    if layout is not None and not layout.is_sound:
        raise Wrong("a layout that reads anywhere")
    return layout is not None


def _kallsyms() -> Subject:
    text = (
        b"ffffffff81000000 T startup_64\nffffffff81000110 t _stext\nffffffff81000120 T _text_end\n"
        b"ffffffff82000000 d some_data\nffffffffc0000000 t drm_one\t[drm]\nffffffffc0000400 T drm_two\t[drm]\n"
    )
    return _subject(_read_kallsyms, [Seed(text), Seed(text * 4)])


_KERNEL_ADDRS = np.array([0, 1, *(0xFFFFFFFF81000000 + at for at in range(0, 800, 37)), 2**64 - 1], np.uint64)


def _read_kallsyms(data: bytes) -> bool:
    return any(name for name, _ in KernelSymbols.parse(data).names(_KERNEL_ADDRS))


_MAPS = b"""\
55d0-55d8 r-xp 00001000 fe:01 1234      /usr/bin/python3.11
7f00000000-7f00010000 r-xp 00000000 00:00 0
7f00020000-7f00030000 rwxp 00000000 fe:01 99   /tmp/a\\012b (deleted)
7ffff7fc1000-7ffff7fc3000 r-xp 00000000 00:00 0    [vdso]
"""
_STATUS = (
    b"Name:\tjava\nUid:\t0\t5\t0\t0\nGid:\t0\t5\t0\t0\nPid:\t70\nNSpid:\t70\t1\nSigCgt:\t0000000181005ccf\n"
)
_CGROUPS = (
    b"0::/kubepods.slice/kubepods-pod12345678_1234_1234_1234_123456789abc.slice/cri-containerd-"
    + b"ab" * 32
    + b".scope\n",
    b"12:cpu:/docker/" + b"0f" * 32 + b"\n1:name=systemd:/system.slice/postgresql\\x2d15@main.service\n",
)
_STAT = b"70 (a (b) c) S 1 70 70 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 12 0 88 1000 200\n"
_ENVIRONMENT = (
    b"OTEL_RESOURCE_ATTRIBUTES=service.name=shop,k8s.pod.name=shop-7d9f8c7b6d-x2x4z\0DD_SERVICE=x\0"
)
_COMMANDS = (
    b"python3\0-m\0gunicorn\0shop.wsgi:app\0-w\0" + b"4\0",
    b"/usr/bin/java\0-Dspring.application.name=pay\0-jar\0/srv/shop-1.2.3.jar\0",
    b"node\0--max-old-space-size=1\0server.js\0",
    b"gunicorn: worker [shop.wsgi:app]",
)
_NOTE = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(range(20))
_RUNTIME = (
    b"JS:*inner /srv/shop/a.js:12:3", b"int shop.Cart.total(java.util.List)", b"py::Cart.add:/srv/cart.py",
    b"LazyCompile:~ file:///srv/a.mjs:1:1", b"shop.Cart$$Lambda$14/0x0000000800c03000.run()",
)  # fmt: skip


def _proc() -> Subject:
    """The texts of /proc, and what labels and names are made of them."""
    identifier = Identifier(HostIdentity(host="box"))
    names = VariableNames(ENVIRONMENT_NAMES)

    def labels(data: bytes) -> int:
        """Parts between bytes 1: executable, command line, environment, control group, name of the thread."""
        exe, command, environment, group, comm = (data.split(b"\1") + [b""] * 5)[:5]
        process = Process(
            7, 7, 1, kernel_text(comm), kernel_text(exe), "ab12", command_line_of(command),
            names.select(environment), kernel_text(group),
        )  # fmt: skip
        identifier._remembered.clear()
        found = identifier.labels(process, kernel_text(comm))
        if any(
            len(value.encode()) > MAX_LABEL_VALUE_BYTES or not value.isprintable() for value in found.values()
        ):
            raise Wrong(f"labels {found}")
        return len(found)

    groups = [Seed(group) for group in _CGROUPS]
    whole = [
        Seed(b"\1".join((b"/usr/bin/python3", command, _ENVIRONMENT, _CGROUPS[number % 2], b"worker")))
        for number, command in enumerate(_COMMANDS)
    ]
    return _of_parts(
        _Part(_read_maps, [Seed(_MAPS)]),
        _Part(lambda data: _refusing(stat_of, data), [Seed(_STAT)]),
        _Part(lambda data: _refusing(facts_of, data), [Seed(_STATUS)]),
        _Part(namespace_pid_of, [Seed(_STATUS)]),
        _Part(labels, whole),
        _Part(labels, [Seed(b"\1\1\1" + group.data) for group in groups]),
        _Part(lambda data: list(split_notes(data)), [Seed(_NOTE * 2, words(_NOTE, 0, 12))]),
        _Part(_read_runtime_name, [Seed(name) for name in _RUNTIME]),
    )


def _refusing(read: Callable[[bytes], object], data: bytes) -> object:
    with contextlib.suppress(ValueError):
        return read(data)
    return None


def _read_maps(data: bytes) -> list[Mapping]:
    found = maps_of(data)
    if any(not 0 <= each.start_addr < each.end_addr < 1 << 64 for each in found):
        raise Wrong(f"mappings {found}")
    return found


def _read_runtime_name(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    for kind in (FrameKind.JVM, FrameKind.NODE, FrameKind.JIT):
        found = runtime_name(text, kind)
        for name in (found.function, found.mapping, found.file):
            if len(name.encode()) > MAX_NAME_BYTES:
                raise Wrong(f"a name of {len(name)} characters")
        if not 0 <= found.line < 1 << 31:
            raise Wrong(f"line {found.line}")
    return True


_SYMBOLS = (
    b"_ZNSt6vectorIN4shop4CartESaIS1_EE9push_backERKS1_",
    b"_ZNKSt8functionIFvRKN4shop4CartESsEEclES3_Ss",
    b"_ZN5boost6detail17sp_counted_impl_pIN4shop4CartIiLi3EJdcEEEE7disposeEv",
    b"_ZZN4shop4mainEvENKUlT_T0_E_clIiPKcEEDaS0_S1_",
    b"_ZTv0_n24_NSt14basic_ifstreamIcSt11char_traitsIcEED0Ev@@GLIBCXX_3.4",
    b"_ZN4core3ptr85drop_in_place$LT$std..rt..lang_start$LT$$LP$$RP$$GT$..$u7b$$u7b$closure$u7d$$u7d$$GT$17h0123456789abcdefE",
    b"_RNvMs0_NtCs5zY0Zk2bX_4shop4cartINtB5_4CartjE5total",
    b"_RINvNtC3std3mem8align_ofNtNtC4shop4cart4CartE",
)


def _demangle() -> Subject:
    return _subject(_read_symbol, [Seed(symbol) for symbol in _SYMBOLS])


def _read_symbol(data: bytes) -> bool:
    symbol = data.decode("utf-8", "replace")
    name, _ = readable(symbol)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise Wrong(f"a name of {len(name)} characters")
    return name != symbol


def _certificate() -> Subject:
    der = make_authority(VALID).certificate.public_bytes(Encoding.DER)
    return _subject(_read_certificate, [Seed(der, [Field(at, 1) for at in range(200)])])


def _read_certificate(data: bytes) -> bool:
    return _refusing(validity_s, data) is not None


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "records": _records,
    "python-names": _python_names,
    "kallsyms": _kallsyms,
    "proc": _proc,
    "demangle": _demangle,
    "certificate": _certificate,
}
