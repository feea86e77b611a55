"""Compiled programs, running: the addresses that they print of their own functions get the right names."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.symbolize.build_id import read_build_id
from agent.symbolize.elf import ElfFile, FileBytes
from agent.symbolize.load_object import load_object
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from tests.workloads.build import SOURCES, build, running, tool
from tests.workloads.processes import Symbolized

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


def names(command: list[str], prefix: tuple[str, ...] = ()) -> dict[str, Frame]:
    """The frame of each function whose address the workload prints, at its first byte and 3 bytes in."""
    with running(command, prefix=prefix) as program:
        seen = Symbolized(program.pid)
        first = seen.frames(program.addrs.values())
        inside = seen.frames(addr + 3 for addr in program.addrs.values())
        assert [frame.function for frame in first] == [frame.function for frame in inside]
        assert not seen.symbolizer.take_losses()
        return dict(zip(program.addrs, first, strict=True))


@pytest.mark.parametrize(
    "flags", [("-pie", "-fPIE"), ("-no-pie",), ("-static",), ("-static-pie",)], ids=" ".join
)
def test_c_however_it_is_linked(folder: Path, flags: tuple[str, ...]) -> None:
    frames = names(build("c", folder, *flags))
    for name in ("spin_inner", "spin_middle", "spin_outer"):
        assert frames[name] == Frame(FrameKind.NATIVE, name, "names_c")


@pytest.mark.parametrize("linker", ["bfd", "gold", "lld", "mold"])
def test_linkers_that_lay_out_segments_differently(folder: Path, linker: str) -> None:
    tool(f"ld.{linker}" if linker != "mold" else "mold")
    assert names(build("c", folder, f"-fuse-ld={linker}"))["spin_middle"].function == "spin_middle"


def test_cpp_templates_namespaces_and_methods(folder: Path) -> None:
    frames = names(build("cpp", folder))
    found = {name: frame.function for name, frame in frames.items()}
    assert found["spin_inner"] == "void shop::spin_inner<unsigned long>(unsigned long)"
    assert found["add"].startswith("shop::Basket::add(std::map<std::")
    assert found["spin_outer"] == "spin_outer(shop::Basket&)"
    assert {frame.kind for frame in frames.values()} == {FrameKind.NATIVE}


@pytest.mark.parametrize("mangling", ["legacy", "v0"])
def test_rust_in_both_manglings(folder: Path, mangling: str) -> None:
    version = f"symbol-mangling-version={mangling}"
    flags = ("-C", version) if mangling == "v0" else ("-C", version, "-Z", "unstable-options")
    if mangling == "legacy" and not _rust_takes(flags):
        flags = ()
    frames = names(build("rust", folder, *flags))
    found = {name: frame.function for name, frame in frames.items()}
    expected = "names_rust::shop::spin_inner"
    assert found["spin_inner"] in (expected, expected + "::<u32>")
    assert found["spin"] == "<names_rust::shop::Basket as names_rust::shop::Spin>::spin"
    assert found["spin_outer"] == "names_rust::spin_outer"
    assert {frame.kind for frame in frames.values()} == {FrameKind.RUST}


def _rust_takes(flags: tuple[str, ...]) -> bool:
    return subprocess.run([tool("rustc"), *flags, "--print", "sysroot"], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-ldflags=-s -w",),
        ("-ldflags=-s -w", "-buildmode=pie"),
        ("-ldflags=-s -w -linkmode=external",),
        ("-ldflags=-s -w -linkmode=external", "-buildmode=pie"),
    ],
    ids=["plain", "stripped", "pie", "linked by gcc", "pie linked by gcc"],
)
def test_go_even_when_stripped(folder: Path, flags: tuple[str, ...]) -> None:
    frames = names(build("go", folder, *flags))
    source = SOURCES / "names_go" / "main.go"
    line = source.read_text().splitlines().index("func spinInner(n uint64) {") + 1
    expected = Frame(FrameKind.GO, "main.spinInner", "names_go", file=str(source), line=line)
    assert frames["spinInner"] == expected
    assert frames["add"].function == "main.(*basket).add"
    assert frames["spinOuter"].function == "main.spinOuter"


def test_every_function_of_a_stripped_go_program(folder: Path) -> None:
    """Those that the table of an unstripped build of the same source has, by the same names."""
    (plain,) = build("go", folder)
    listed = subprocess.run(
        [tool("go"), "tool", "nm", "-sort=address", plain], capture_output=True, text=True
    )
    assert not listed.returncode, listed.stderr
    rows = re.findall(r"^ *([0-9a-f]+) [Tt] (\S+)$", listed.stdout, re.MULTILINE)
    apart = folder / "apart"
    apart.mkdir()
    (binary,) = build("go", apart, "-ldflags=-s -w")
    with Path(binary).open("rb") as file:
        own = FileBytes(file.fileno())
        symbols = load_object(own, binary, (), 8 << 20)
        assert symbols.segments
        (text,) = (s for s in ElfFile(own).code_segments)
        offsets = np.array([int(addr, 16) - text.vaddr + text.offset for addr, _ in rows], np.uint64)
        found = [frame.function for frame in symbols.frames(own, offsets, "app")]
    wrong = [(name, got) for (_, name), got in zip(rows, found, strict=True) if name.split(".abi")[0] != got]
    assert len(rows) > 1500
    # Labels of the linker and assembly's data in code have no record.
    assert len(wrong) < 0.005 * len(rows), wrong[:20]


@pytest.fixture
def stripped(folder: Path) -> Iterator[tuple[list[str], Path, str]]:
    """(command, its debug file, its build id) of a C program without .symtab."""
    (binary,) = build("c", folder, "-Wl,--build-id=sha1")
    plain = folder / "stripped"
    debug = folder / "stripped.debug"
    shutil.copy(binary, plain)
    subprocess.run([tool("objcopy"), "--only-keep-debug", plain, debug], check=True)
    subprocess.run([tool("strip"), plain], check=True)
    with plain.open("rb") as file:
        yield [str(plain)], debug, read_build_id(file.fileno())


def test_a_stripped_program_says_where_the_code_lies(stripped: tuple[list[str], Path, str]) -> None:
    command, _, build_id = stripped
    frame = names(command)["spin_inner"]
    assert (frame.kind, frame.function, frame.mapping) == (FrameKind.NATIVE, "", "stripped")
    assert frame.build_id == build_id != ""
    code = Path(command[0]).read_bytes()[frame.offset :]
    original = (Path(command[0]).parent / "names_c").read_bytes()
    assert code[:16] == original[frame.offset :][:16]


def test_debug_file_by_link(stripped: tuple[list[str], Path, str]) -> None:
    command, debug, _ = stripped
    subprocess.run([tool("objcopy"), f"--add-gnu-debuglink={debug}", command[0]], check=True)
    assert names(command)["spin_middle"].function == "spin_middle"


def test_debug_file_by_link_of_another_build_is_refused(stripped: tuple[list[str], Path, str]) -> None:
    command, debug, _ = stripped
    subprocess.run([tool("objcopy"), f"--add-gnu-debuglink={debug}", command[0]], check=True)
    (other,) = build("c", debug.parent, "-DOTHER", "-O2", "-Wl,--build-id=0xabcdef0123")
    subprocess.run([tool("objcopy"), "--only-keep-debug", other, debug], check=True)
    assert names(command)["spin_middle"].function == ""


def test_debug_file_by_build_id_inside_the_mount_namespace(stripped: tuple[list[str], Path, str]) -> None:
    command, debug, build_id = stripped
    target = f"/usr/lib/debug/.build-id/{build_id[:2]}"
    script = (
        "mount -t tmpfs none /usr/lib/debug && "
        f'mkdir -p {target} && cp {debug} {target}/{build_id[2:]}.debug && exec "$0" "$@"'
    )
    frames = names(command, prefix=(tool("unshare"), "--mount", "sh", "-c", script))
    assert frames["spin_middle"].function == "spin_middle"
    assert not Path(target, f"{build_id[2:]}.debug").exists()


def test_mini_debug_info(stripped: tuple[list[str], Path, str]) -> None:
    command, debug, _ = stripped
    subprocess.run([tool("xz"), "--keep", "--force", debug], check=True)
    add = f".gnu_debugdata={debug}.xz"
    subprocess.run([tool("objcopy"), "--add-section", add, command[0]], check=True)
    assert names(command)["spin_middle"].function == "spin_middle"


def test_names_survive_the_process_and_its_file(folder: Path) -> None:
    (binary,) = build("c", folder)
    copy = folder / "short_lived"
    shutil.copy(binary, copy)
    with running([str(copy)]) as program:
        seen = Symbolized(program.pid)
        addr = program.addrs["spin_inner"]
    copy.unlink()
    assert seen.frame(addr).function == "spin_inner"


def test_a_file_that_is_cut_while_in_use_costs_a_counted_loss(folder: Path) -> None:
    (binary,) = build("c", folder)
    copy = folder / "cut"
    shutil.copy(binary, copy)
    with running([str(copy)]) as program:
        seen = Symbolized(program.pid)
        addr = program.addrs["spin_inner"]
    with copy.open("r+b") as file:
        file.truncate(100)
    frame = seen.frame(addr)
    assert (frame.function, frame.mapping) == ("", "cut")
    assert seen.symbolizer.take_losses() == {DropReason.OBJECT_UNREADABLE: 1}
    assert not seen.symbolizer.take_losses()
