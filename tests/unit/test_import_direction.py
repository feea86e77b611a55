"""Imports go one way: fleetprof ← agent, collector ← query_ui; agent and collector never know each other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "fleetprof": ROOT / "proto/fleetprof",
    "agent": ROOT / "agent",
    "collector": ROOT / "collector",
    "query_ui": ROOT / "query_ui",
}
MAY_IMPORT = {
    "fleetprof": {"fleetprof"},
    "agent": {"fleetprof", "agent"},
    "collector": {"fleetprof", "collector"},
    # The front door starts all parts.
    "query_ui": {"fleetprof", "agent", "collector", "query_ui"},
}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """(line, top-level package) of each absolute import, those inside of functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
            yield from ((node.lineno, str(name).partition(".")[0]) for name in names)


@pytest.mark.parametrize("package", FOLDERS)
def test_package_imports_only_what_it_may(package: str) -> None:
    files = sorted(FOLDERS[package].rglob("*.py"))
    assert files
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: imports {name}"
        for file in files
        for line, name in imported(file.read_text())
        if name in FOLDERS and name not in MAY_IMPORT[package]
    ]
    assert not wrong, "\n".join(wrong)


def test_every_form_of_import_is_seen() -> None:
    source = (
        "import collector.store as s\n"
        "def f():\n    from agent.config import X\n"
        "from . import near\n"
        "importlib.import_module('query_ui.app')\n"
    )
    assert sorted(imported(source)) == [(1, "collector"), (3, "agent"), (5, "query_ui")]
