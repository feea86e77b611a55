"""Shell scripts are clean, the installer refuses clearly, and what deploy/ documents are real commands."""

import os
import re
import shlex
import subprocess
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli import _parser as agent_parser
from collector.cli import _parser as collector_parser
from collector.config import TABLE as COLLECTOR_TABLE
from fleetprof.settings import settings_markdown
from query_ui.cli import create_parser
from tests.workloads.build import tool

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ROOT / "deploy/install.sh"
READMES = sorted((ROOT / "deploy").rglob("README.md"))


def shell_scripts() -> list[str]:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [path for name in tracked.stdout.split("\n") if (path := ROOT / name).is_file()]
    shebang = re.compile(rb"#!.*\b(ba|da)?sh\b")
    return [str(path) for path in files if path.suffix == ".sh" or shebang.match(path.read_bytes()[:64])]


def test_shell_scripts_are_clean() -> None:
    scripts = shell_scripts()
    assert str(INSTALL) in scripts
    done = subprocess.run([tool("shellcheck"), *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- the installer's refusals --------------------------------------------------------------------------


def install(*arguments: str | Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """The installer, which may only look; `before` runs in mounts of its own, as root."""
    words = ["bash", str(INSTALL), *map(str, arguments)]
    if before:
        words = ["unshare", "-m", "bash", "-c", f'{before}; exec "$@"', "bash", *words]
    return subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a refusal, which says what to do on its second line."""
    said = done.stderr.strip().split("\n")
    assert done.returncode == 1, done.stderr + done.stdout
    assert len(said) == 2, said
    assert said[0].startswith("fleetprof install: ")
    assert said[1].startswith("  ")
    return said[0]


SYSTEMD_RUNS = "mount -t tmpfs none /run && mkdir -p /run/systemd/system"
HAS_APT = pytest.mark.skipif(not Path("/usr/bin/apt-get").exists(), reason="needs Debian or Ubuntu")


@pytest.mark.parametrize("arguments", [("--packages",), ("--tls",), ("--package", "--nonsense"), ("agent",)])
def test_unknown_or_unfinished_options_are_refused(arguments: tuple[str, ...]) -> None:
    assert install(*arguments).returncode == 1


def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The installer by another user, who may not be able to read this folder."""
    user = 65534 if os.geteuid() == 0 else None
    command = ["bash", "-s", "--", *arguments]
    text = INSTALL.read_text()
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, user=user, cwd="/"
    )


def test_help_is_printed_without_root() -> None:
    done = as_nobody("--help")
    assert (done.returncode, done.stdout[:7]) == (0, "usage: ")


def test_it_wants_root() -> None:
    assert "must be run as root" in refusal(as_nobody("--no-start"))


@pytest.mark.kernel
def test_it_knows_debian_and_ubuntu_only(tmp_path: Path) -> None:
    assert "is no system tree" in refusal(install("--root", tmp_path))
    for name, text in (("usr/bin/env", ""), ("etc/os-release", 'ID=fedora\nPRETTY_NAME="Fedora 41"\n')):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "usr/bin/env").chmod(0o755)
    assert 'no Debian or Ubuntu: "Fedora 41"' in refusal(install("--root", tmp_path))


@pytest.mark.kernel
@HAS_APT
def test_it_wants_systemd() -> None:
    assert "systemd does not run" in refusal(install("--dry-run", before="mount -t tmpfs none /run"))


@pytest.mark.kernel
@HAS_APT
def test_it_looks_before_it_changes_anything(tmp_path: Path) -> None:
    no_wheel = install("--package", tmp_path / "no.whl", before=SYSTEMD_RUNS)
    assert "there is no wheel" in refusal(no_wheel)
    assert "has no file ca.pem" in refusal(install("--tls", tmp_path, before=SYSTEMD_RUNS))
    assert "is no address" in refusal(install("--collector-address", "here", before=SYSTEMD_RUNS))
    away = install("--collector-address", "127.0.0.1:1", before=SYSTEMD_RUNS)
    assert "nothing answers at 127.0.0.1:1" in refusal(away)
    assert "--unchecked" in away.stderr


@pytest.mark.kernel
@HAS_APT
@pytest.mark.parametrize("role", ["agent", "collector"])
def test_a_dry_run_changes_nothing_and_names_every_file(tmp_path: Path, role: str) -> None:
    for name in ("ca.pem", f"{role}.pem", f"{role}.key"):
        (tmp_path / name).write_text("x")
    done = install(f"--{role}", "--dry-run", "--unchecked", "--tls", tmp_path, before=SYSTEMD_RUNS)
    assert done.returncode == 0, done.stderr
    for path in (f"system/fleetprof-{role}.service", f"sysusers.d/fleetprof-{role}.conf", f"tls/{role}.key"):
        assert path in done.stdout
        assert not (Path("/etc/systemd") / path).exists()
    assert f'would set: tls_key = "/etc/fleetprof/tls/{role}.key"' in done.stdout


# --- what the documentation shows ----------------------------------------------------------------------


def commands() -> list[tuple[str, list[str]]]:
    """(file, words) of every command shown: lines indented by four spaces."""
    found = []
    for path in READMES:
        for line in re.findall(r"(?m)^    (\S.*)$", path.read_text()):
            words = shlex.split(line, comments=True)
            if words and not re.match(r"\[|\w+ ?=|[A-Z]\w+=", line):
                found.append((str(path.relative_to(ROOT)), words[1:] if words[0] == "sudo" else words))
    return found


PARSERS: dict[str, Callable[[list[str]], ArgumentParser]] = {
    "fleetprof": lambda words: create_parser(words[0]),
    "fleetprof-agent": lambda words: agent_parser(),
    "fleetprof-collector": lambda words: collector_parser(),
}


def test_our_commands_are_understood() -> None:
    seen = set()
    for _, words in commands():
        for at, word in enumerate(words):
            name = Path(word).name
            if name in PARSERS and (at == 0 or word.startswith("/opt/fleetprof/bin/")):
                PARSERS[name](words[at + 1 :]).parse_args(words[at + 1 :])
                seen.add(name)
    assert seen >= {"fleetprof-agent", "fleetprof-collector"}


def test_scripts_and_files_that_are_named_exist() -> None:
    options = set(re.findall(r"^  (--[a-z-]+)", INSTALL.read_text(), re.MULTILINE)) | {
        "--agent",
        "--collector",
    }
    for where, words in commands():
        if words[0] == "deploy/install.sh":
            assert {word for word in words if word.startswith("--")} <= options, (where, words)
        for word in words:
            if word.startswith("deploy/"):
                assert (ROOT / word).exists(), (where, word)
        if words[0] == "make":
            target = next((word for word in words[1:] if "=" not in word), "")
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), (where, target)


def test_container_stages_and_images_that_are_named_exist() -> None:
    stages = re.findall(
        r"^FROM .* AS (\S+)$", (ROOT / "deploy/container/Containerfile").read_text(), re.MULTILINE
    )
    builds = [words for _, words in commands() if words[:2] == ["podman", "build"]]
    assert [words[words.index("--target") + 1] for words in builds] == ["agent", "collector"]
    assert {"agent", "collector"} <= set(stages)


def test_links_between_the_readmes_lead_somewhere() -> None:
    for path in READMES:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), (path, target)


def test_the_collectors_settings_are_documented() -> None:
    assert settings_markdown(COLLECTOR_TABLE) in (ROOT / "deploy/README.md").read_text()
