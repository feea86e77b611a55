"""What is found in the file of a Java VM, and that no file makes it fail."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.jvm.code_heaps import (
    FIELDS,
    HEAPS,
    INTERPRETER,
    OPTIONAL_FIELDS,
    VALUE,
    CodeHeaps,
    find_code_heaps,
    process_value,
)
from agent.symbolize.elf import PF_X, ElfFile, MemoryBytes
from agent.symbolize.exports import bias_of
from tests.workloads.build import tool

MUTATED = 400
BASE = 0x7F00_0000_0000
ENTRY = (
    "struct entry { const char *type, *field, *kind; int is_static; unsigned long offset; void *address; }"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, int]]:
    """A library with such a table and nothing else, and its symbols."""
    folder = tmp_path_factory.mktemp("vm")
    fields = [("Other", "_field"), *FIELDS, *OPTIONAL_FIELDS[:1]]
    rows = [f'{{"{kind}", "{name}", "int"}}' for kind, name in fields]
    rows += [f'{{"{kind}", "{name}", "void*", 1, 0, &{kind}{name}}}' for kind, name in (HEAPS, INTERPRETER)]
    source = (
        f"void *CodeCache_heaps, *AbstractInterpreter_code; {ENTRY};\n"
        f"struct entry table[] = {{ {', '.join(rows)}, {{0}} }};\n"
        "struct entry *gHotSpotVMStructs = table; int code(void) { return 1; }\n"
    )
    (folder / "vm.c").write_text(source)
    flags = ["-shared", "-fPIC", "-nostdlib", "-Wl,-z,notext", "-Wl,-Bsymbolic"]
    subprocess.run([tool("gcc"), *flags, "-o", folder / "vm.so", folder / "vm.c"], check=True)
    listed = subprocess.run([tool("nm"), folder / "vm.so"], check=True, capture_output=True, text=True)
    symbols = {line.split()[-1]: int(line.split()[0], 16) for line in listed.stdout.splitlines()}
    return (folder / "vm.so").read_bytes(), symbols


def test_addresses_are_those_of_the_table(small: tuple[bytes, dict[str, int]]) -> None:
    data, symbols = small
    found = find_code_heaps(MemoryBytes(data))
    assert found
    assert found.heaps_vaddr == symbols["CodeCache_heaps"]
    assert found.interpreter_vaddr == symbols["AbstractInterpreter_code"]
    offsets = [symbols["table"] + 48 * (1 + number) + 32 for number in range(len(FIELDS) + 1)]
    assert list(found.entries) == [*offsets, 0]
    span = found.code[0]
    assert bias_of(found.code, BASE + span.vaddr, span.offset) == BASE


def test_a_java_vm_of_this_machine_is_one() -> None:
    java = shutil.which("java")
    library = Path(java).resolve().parent.parent / "lib/server/libjvm.so" if java else None
    if library is None or not library.exists():
        pytest.skip("no Java VM is installed here")
    data = library.read_bytes()
    found = find_code_heaps(MemoryBytes(data))
    assert found
    writable = [s for s in ElfFile(MemoryBytes(data)).segments if s.flags & 2 and not s.flags & PF_X]
    for vaddr in (found.heaps_vaddr, found.interpreter_vaddr, *found.entries):
        assert any(s.vaddr <= vaddr < s.vaddr + s.memory_size for s in writable)


def test_what_the_kernel_is_told_lies_in_the_process() -> None:
    count = len(FIELDS) + len(OPTIONAL_FIELDS)
    found = CodeHeaps(0x10, 0x20, (*range(0x30, 0x30 + count - 1), 0), ())
    words = VALUE.unpack(process_value(found, 0x1000))
    assert words[:2] == (0x1010, 0x1020)
    assert words[2 : 2 + count] == (*range(0x1030, 0x1030 + count - 1), 0)
    assert not any(words[2 + count :])


def test_a_damaged_file_is_none_or_lies(small: tuple[bytes, dict[str, int]]) -> None:
    pick = random.Random(11)
    for _ in range(MUTATED):
        data = bytearray(small[0])
        for _ in range(pick.choice((1, 4, 40))):
            data[pick.randrange(len(data))] = pick.choice((0, 0xFF, pick.randrange(256)))
        found = find_code_heaps(
            MemoryBytes(bytes(data[: pick.choice((len(data), pick.randrange(len(data))))]))
        )
        if found:
            assert VALUE.unpack(process_value(found, BASE))
