"""The container file: clean by its linter, pinned, without what does not belong into an image."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workloads.build import tool

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy/container/Containerfile"
IMAGES = ("agent", "collector")


def instructions() -> Iterator[tuple[str, str, str]]:
    """(stage, instruction, rest) in order, continued lines joined, comments left out."""
    text = re.sub(r"(?m)^\s*#.*\n", "", FILE.read_text()).replace("\\\n", " ")
    stage = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        stage = rest.split()[-1] if name == "FROM" else stage
        yield stage, name, re.sub(r"\s+", " ", rest)


def test_the_linter_finds_nothing() -> None:
    done = subprocess.run([tool("hadolint"), FILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_only_pinned_images_and_own_stages_are_built_on() -> None:
    stages: set[str] = set()
    for stage, name, rest in instructions():
        if name == "FROM":
            base = rest.split()[0]
            assert base in stages or re.search(r":\d+\.\d+", base), f"{base} names no release"
            stages.add(stage)
    assert set(IMAGES) <= stages


def test_nothing_is_fetched_but_by_package_managers_and_no_lists_stay() -> None:
    for _, name, rest in instructions():
        assert name != "ADD"
        if name == "RUN":
            assert not re.search(r"\b(curl|wget|git)\b", rest)
            assert ("apt-get update" in rest) == ("rm -rf /var/lib/apt/lists" in rest)


def of(stage: str, instruction: str) -> list[str]:
    return [rest for at, name, rest in instructions() if (at, name) == (stage, instruction)]


def test_images_say_who_they_run_as_and_only_the_agent_is_root() -> None:
    assert of("agent", "USER") == ["0:0"]
    assert of("collector", "USER") == ["65532:65532"]


@pytest.mark.parametrize("image", IMAGES)
def test_images_hold_no_compiler(image: str) -> None:
    (packages,) = of(image, "RUN")
    assert not re.search(r"\b(clang|gcc|make|llvm|python3-venv|[a-z0-9]+-dev)\b", packages)
    assert ("libbpf1" in packages) == (image == "agent")
    assert of(image, "COPY") == [f"--from={image}-environment /opt/fleetprof /opt/fleetprof"]


def test_the_build_sees_all_that_the_wheel_is_made_of() -> None:
    admitted = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line[:1] == "!"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {
        pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    needed = (packages - {"fleetprof"}) | {
        "proto",
        "bpf",
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert needed <= admitted
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"
    assert all((ROOT / name).exists() for name in admitted)
