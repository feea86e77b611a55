"""Kernel symbols from text as the kernel writes it."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.symbolize.kallsyms import KernelSymbols
from agent.symbolize.kernel_symbols import REREAD_SECONDS, KernelFrames
from fleetprof.frames import Frame, FrameKind

TEXT = b"""\
ffffffff81000000 T _stext
ffffffff81000000 T startup_64
ffffffff81000100 t __local_copy
ffffffff81000100 T vfs_read
ffffffff81000200 D not_code
ffffffff81000300 W weak_one
ffffffff81000400 T last_of_kernel
ffffffffc0001000 t ext4_readdir\t[ext4]
ffffffffc0001100 t ext4_last\t[ext4]
ffffffffc0200000 t bpf_prog_6deef7357e7b4530_sample\t[bpf]
"""


def names(text: bytes, *addrs: int) -> list[tuple[str, str]]:
    return KernelSymbols.parse(text).names(np.array(addrs, np.uint64))


def test_names_modules_and_aliases() -> None:
    addrs = (0xFFFFFFFF81000010, 0xFFFFFFFF810001FF, 0xFFFFFFFF81000250, 0xFFFFFFFF81000300)
    assert names(TEXT, *addrs) == [("startup_64", ""), ("vfs_read", ""), ("", ""), ("weak_one", "")]
    modules = (0xFFFFFFFFC0001010, 0xFFFFFFFFC0200004)
    assert names(TEXT, *modules) == [("ext4_readdir", "ext4"), ("bpf_prog_6deef7357e7b4530_sample", "bpf")]


def test_the_kernel_does_not_reach_into_modules_nor_modules_into_holes() -> None:
    addrs = (0xFFFFFFFF81000410, 0xFFFFFFFF82000000, 0xFFFFFFFFC0001110, 0xFFFFFFFFC0100000)
    assert [name for name, _ in names(TEXT, *addrs)] == ["last_of_kernel", "", "ext4_last", ""]
    assert names(TEXT, 0, 1, 2**64 - 1) == [("", "")] * 3


def test_hidden_addresses_give_unknown_frames_and_one_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kallsyms"
    path.write_bytes(b"".join(b"0" * 16 + line[16:] + b"\n" for line in TEXT.splitlines()))
    kernel = KernelFrames(path, tmp_path / "none", clock=iter(range(0, 10**6, 1000)).__next__)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            frames = kernel.frames(np.array([0xFFFFFFFF81000010], np.uint64))
    assert frames == [Frame(FrameKind.KERNEL, "", "[kernel]", "", 0xFFFFFFFF81000010)]
    assert "kptr_restrict" in kernel.notice
    assert len(caplog.records) == 1


def test_unknown_addresses_lead_to_another_look_but_not_too_often(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_bytes(TEXT)
    now = [0.0]
    kernel = KernelFrames(path, tmp_path / "none", clock=lambda: now[0])
    addr = np.array([0xFFFFFFFFC0300010], np.uint64)
    unknown = Frame(FrameKind.KERNEL, "", "[kernel]", "", 0xFFFFFFFFC0300010 - 0xFFFFFFFF81000000)
    assert kernel.frames(addr) == [unknown]
    path.write_bytes(TEXT + b"ffffffffc0300000 t nft_do_chain\t[nf_tables]\n")
    now[0] = REREAD_SECONDS - 1
    assert kernel.frames(addr) == [unknown]
    now[0] = REREAD_SECONDS + 1
    assert kernel.frames(addr) == [Frame(FrameKind.KERNEL, "nft_do_chain", "[nf_tables]")]


def test_looks_in_vain_become_seldom(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_bytes(TEXT)
    now = [0.0]
    kernel = KernelFrames(path, tmp_path / "none", clock=lambda: now[0])
    addr = np.array([0xFFFFFFFFC0300010], np.uint64)
    for now[0] in (0.0, REREAD_SECONDS + 1):  # the second look is in vain
        assert not kernel.frames(addr)[0].function
    path.write_bytes(TEXT + b"ffffffffc0300000 t nft_do_chain\t[nf_tables]\n")
    now[0] += 2 * REREAD_SECONDS - 1
    assert not kernel.frames(addr)[0].function
    now[0] += 2
    assert kernel.frames(addr)[0].function == "nft_do_chain"


def test_no_kallsyms_at_all(tmp_path: Path) -> None:
    kernel = KernelFrames(tmp_path / "none", tmp_path / "none")
    assert kernel.frames(np.array([5], np.uint64))[0].function == ""
    assert kernel.notice


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(TEXT.splitlines())), max_size=12))
def test_any_lines(lines: list[bytes]) -> None:
    found = names(b"\n".join(lines) + b"\n", 0, 0xFFFFFFFF81000010, 0xFFFFFFFFC0001010, 2**64 - 1)
    if TEXT.splitlines()[7] in lines:
        assert found[2][0]
