"""Tables of arm64 code, linked here for that CPU, against what readelf shows."""

import subprocess
from pathlib import Path

import pytest

from agent.unwind.layout import ARM64, At, Cfa
from agent.unwind.read import TableReader
from tests.unit.test_unwind_tables import in_c, in_python, readelf_rows, section_of, table_bytes
from tests.workloads.build import tool

SOURCE = """
extern int outside(int *);
int leaf(int a) { return a + 1; }
int caller(int a) { int b[9] = { a }; return outside(b) + b[3]; }
int variable(int n) { int b[n]; b[0] = n; return outside(b) + b[n - 1]; }
long many(long a, long b, long c, long d) { int x = a; outside(&x); return a * b + c * d + x; }
"""


@pytest.fixture(scope="module", params=["-fomit-frame-pointer", "-fno-omit-frame-pointer"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arm64")
    (folder / "code.c").write_text(SOURCE)
    linker = tool("ld.lld")
    flags = ["--target=aarch64-linux-gnu", "-O2", "-funwind-tables", "-fPIC", "-nostdlib", "-shared"]
    flags += ["-mbranch-protection=standard", request.param, f"--ld-path={linker}", "-Wl,--eh-frame-hdr"]
    out = folder / "code.so"
    subprocess.run([tool("clang"), *flags, "-o", out, folder / "code.c"], check=True)
    return out


def test_both_builders_agree(library: Path) -> None:
    section = section_of(library)
    assert section.machine == ARM64
    assert table_bytes(section, in_c(section)) == table_bytes(section, in_python(section))


def test_rules_are_those_that_readelf_shows(library: Path) -> None:
    section = section_of(library)
    table = TableReader(table_bytes(section, in_c(section)))
    compared = 0
    for addr, end, columns in readelf_rows(library):
        if addr >= end:
            continue
        rule = table.rule(addr)
        base, sign, offset = columns["CFA"].partition("+")
        assert sign
        assert (rule["cfa"], rule["cfa_offset"]) == ({"sp": Cfa.SP, "x29": Cfa.FP}[base], int(offset))
        for column, name in (("x29", "fp"), ("ra", "third")):
            text = columns.get(column, "u")
            wanted = (At.SAME, 0) if text == "u" else (At.CFA, int(text.removeprefix("c")))
            assert (rule[name], rule[f"{name}_offset"]) == wanted, (hex(addr), columns)
        compared += 1
    assert compared >= 8
