"""Commands that the documents show exist, with the options they are shown with."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "deploy/README.md")
PROGRAMS = ("fleetprof", "fleetprof-agent", "fleetprof-collector", "fleetprof-ui")
WITH_ACTIONS = ("alerts", "rules", "debuginfo", "sources", "token")
"""Subcommands that have their own."""
BIN = Path(sys.executable).parent


def shown_commands() -> list[tuple[str, ...]]:
    """Every fleetprof command line in a fenced block, without its comment."""
    found = []
    for name in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(), re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                words = words[1:] if words[:1] == ["sudo"] else words
                if words and words[0] in PROGRAMS:
                    found.append(tuple(words))
    return found


@functools.cache
def help_of(*command: str) -> str:
    """What a command prints of its options; many lines show the same ones."""
    program, *subcommand = command
    shown = subprocess.run([BIN / program, *subcommand, "--help"], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


@pytest.mark.parametrize("command", shown_commands(), ids=" ".join)
def test_shown_commands_parse(command: tuple[str, ...]) -> None:
    program, *arguments = command
    options = [word for word in arguments if word.startswith("--")]
    words = [word for word in arguments if not word.startswith("-")]
    subcommand = words[: 2 if words[0] in WITH_ACTIONS else 1]
    shown = help_of(program, *subcommand)
    for option in options:
        assert option.partition("=")[0] in shown


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_that_are_shown_exist(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z][a-z-]*)", (ROOT / document).read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_files_that_are_named_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link
