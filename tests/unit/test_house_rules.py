"""Rules of CONTRIBUTING.md that no linter checks: sizes and names of files, licences, no swallowed errors."""

import ast
import functools
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "collector", "query_ui", "proto", "bpf", "deploy", "tests")
SOURCES = {".py", ".c", ".h", ".js", ".css", ".html", ".sql", ".sh", ".proto"}
MAX_LINES = 500
ROOMS_WITHOUT_SUBJECT = re.compile(r"(utils?|helpers?|common|misc|miscellaneous|managers?|stuff)")


def is_ours(path: Path) -> bool:
    generated = "_pb2" in path.name or ".min." in path.name
    foreign = {"vendor", "__pycache__", "objects", "node_modules", "LICENSES"} & set(path.parts)
    return not generated and not foreign


def source_files() -> list[Path]:
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*")]
    return sorted(path for path in found if path.suffix in SOURCES and is_ours(path.relative_to(ROOT)))


FILES = source_files()
PYTHON = [path for path in FILES if path.suffix == ".py"]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_no_file_is_longer_than_the_limit() -> None:
    lengths = {path: path.read_text().count("\n") for path in FILES}
    long = [f"{path.relative_to(ROOT)}: {lines}" for path, lines in lengths.items() if lines > MAX_LINES]
    assert not long, "\n".join(long)


def test_files_and_folders_are_named_for_a_subject() -> None:
    parts = {part for path in FILES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert not [part for part in parts if ROOMS_WITHOUT_SUBJECT.fullmatch(part.lower())]


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Catches everything, and does more with it than clean up and raise it again."""
    caught = "BaseException" if handler.type is None else ast.unparse(handler.type)
    last = handler.body[-1]
    raises_again = isinstance(last, ast.Raise) and last.exc is None
    return caught in ("Exception", "BaseException") and not raises_again


def test_no_error_is_caught_without_being_named() -> None:
    """Ruff's BLE is silent where the handler logs; here that is not enough."""
    broad = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in PYTHON
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    ]
    assert not broad, "\n".join(broad)


def test_every_kernel_side_file_states_its_licence() -> None:
    files = [path for path in FILES if ROOT / "bpf" in path.parents]
    assert files
    for path in files:
        head = path.read_text()[:200]
        assert "SPDX-License-Identifier: GPL-2.0 OR Apache-2.0" in head, path


def test_every_module_says_what_it_is_for() -> None:
    modules = [path for path in PYTHON if path.name != "__init__.py"]
    assert not [str(path) for path in modules if not ast.get_docstring(parsed(path))]


@pytest.mark.parametrize("script", [".ci/run", "deploy/setup.sh"])
def test_scripts_can_be_run_and_parse(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
