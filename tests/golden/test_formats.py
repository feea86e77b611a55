"""The bytes of exported files do not change unnoticed; each binary has a twin that people can read.

After a wanted change run it with FLEETPROF_WRITE_GOLDEN=1 and read the diff.
"""

import gzip
import os
from pathlib import Path

import pytest
from google.protobuf import text_format

from fleetprof import __version__
from fleetprof.formats import folded, pprof, speedscope
from fleetprof.formats.stack_profile import CPU_NANOSECONDS, SAMPLES_COUNT, StackProfile, from_stacks
from fleetprof.frames import UNSAMPLED, Frame, FrameKind
from fleetprof.pprof import profile_pb2 as pb

FOLDER = Path(__file__).parent / "formats"
WRITE = bool(os.environ.get("FLEETPROF_WRITE_GOLDEN"))


def sample_profile() -> StackProfile:
    """What can be special: kernel, unknown symbols in two files, Python lines, ";" in a name, no stack."""
    switch = Frame(FrameKind.KERNEL, "__schedule", "[kernel]")
    read = Frame(FrameKind.NATIVE, "read", "libc.so.6", "c0ffee")
    unknown = Frame(FrameKind.NATIVE, "", "libssl.so.3", "deadbeef", 0x2F10)
    same_offset = Frame(FrameKind.NATIVE, "", "libz.so.1", "", 0x2F10)
    work = Frame(FrameKind.PYTHON, "work", "python3", "", 0, "/srv/app.py", 41)
    odd = Frame(FrameKind.JIT, "Foo;Bar\\baz", "perf-7.map")
    main = Frame(FrameKind.NATIVE, "main", "app", "0123", 0, "main.c", 7)
    return from_stacks(
        [[switch, read, main], [unknown, work, main], [same_offset, odd, main], [UNSAMPLED]],
        [[3, 30_303_030], [2, 20_202_020], [1, 10_101_010], [0, 5]],
        (SAMPLES_COUNT, CPU_NANOSECONDS),
        period=10_101_010,
        time_ns=1_795_240_000 * 10**9,
        duration_ns=10**10,
    )


def check(name: str, data: bytes) -> None:
    path = FOLDER / name
    if WRITE:
        path.write_bytes(data)
    assert data == path.read_bytes(), f"{name} has changed"


def test_pprof() -> None:
    """Compared unpacked: compressed bytes depend on the version of zlib."""
    plain = gzip.decompress(pprof.encode(sample_profile(), comment="golden"))
    check("profile.pb", plain)
    message = pb.Profile()
    message.ParseFromString(plain)
    check("profile.pb.txt", text_format.MessageToString(message).encode())


def test_the_golden_pprof_is_read() -> None:
    profile = pprof.decode((FOLDER / "profile.pb").read_bytes())
    wanted = sample_profile()
    assert [profile.stack(row) for row in range(4)] == [wanted.stack(row) for row in range(4)]
    assert profile.values.tolist() == wanted.values.tolist()


@pytest.mark.parametrize(("name", "column"), [("samples.folded", 0), ("nanoseconds.folded", 1)])
def test_folded(name: str, column: int) -> None:
    check(name, folded.encode(sample_profile(), column))


def test_speedscope() -> None:
    data = speedscope.encode(sample_profile(), "golden")
    check("profile.speedscope.json", data.replace(__version__.encode(), b"VERSION"))
