"""The CPython interpreters that are installed here, one of each version and way of being built."""

from pathlib import Path

import pytest

from tests.workloads.build import SOURCES

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
PYENV = Path.home() / ".pyenv" / "versions"
STATIC = Path("/usr/bin/python3.11")
"""Debian's, which has the interpreter in the executable, without symbols of its own, optimised by profile."""
PROGRAM = str(SOURCES / "python_shares.py")


def interpreters() -> dict[str, Path | None]:
    """Path by name; None for a version that is not installed."""
    found = {version: _newest(version) for version in VERSIONS}
    return {**found, "3.11 static": STATIC if STATIC.exists() else None}


def _newest(version: str) -> Path | None:
    places = sorted(PYENV.glob(f"{version}.*/bin/python{version}"))
    return places[-1] if places else None


def interpreter(name: str) -> str:
    """Its path; skips the test where it is not installed."""
    path = interpreters()[name]
    if path is None:
        pytest.skip(f"CPython {name} is not installed in {PYENV} or /usr/bin")
    return str(path)
