"""The agent as its systemd unit runs it: no root, six capabilities. With them it sees everything; without any
one of them something is lost."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import BIN, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]

ROOT = Path(__file__).resolve().parents[2]
UNIT = (ROOT / "deploy/systemd/fleetprof-agent.service").read_text()
CAPABILITIES = re.findall(r"CAP_(\w+)", re.findall(r"^AmbientCapabilities=(.*)$", UNIT, re.MULTILINE)[0])
OTHER_USER = 1234
"""Owns the workloads; the agent is 65534 (nobody)."""


def as_user(user: int, *capabilities: str) -> list[str]:
    """What stands before a command: as `user`, with these capabilities only, given as systemd gives them."""
    kept = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities)])
    sets = [f"--bounding-set={kept}", f"--inh-caps={kept}", f"--ambient-caps={kept}"]
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", *sets]


@pytest.fixture(scope="module")
def workloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of another user, in a folder closed to all others: `shares`, `gone` whose file is deleted; and `dd`."""
    folder = tmp_path_factory.mktemp("closed")
    source = Path(__file__).parent.parent / "workloads/shares.c"
    subprocess.run(["gcc", "-O1", "-fno-omit-frame-pointer", "-o", folder / "shares", source], check=True)
    shutil.copy(folder / "shares", folder / "gone")
    os.chown(folder, OTHER_USER, OTHER_USER)
    folder.chmod(0o700)
    for parent in list(folder.parents)[:2]:
        parent.chmod(0o711)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    commands = [[f"{folder}/{name}", "300"] for name in ("shares", "gone")]
    running = [subprocess.Popen(["nice", *as_user(OTHER_USER), *command], **quiet) for command in commands]
    running.append(subprocess.Popen(["nice", "dd", "if=/dev/zero", "of=/dev/null", "bs=4M"], **quiet))
    names = ("shares", "gone", "dd")
    wait_until(
        lambda: [Path(f"/proc/{each.pid}/comm").read_text().strip() for each in running] == list(names),
        "all workloads run",
    )
    (folder / "gone").unlink()
    yield
    for each in running:
        each.kill()
        each.wait()


def record(folder: Path, capabilities: list[str], before: str = "") -> tuple[str, str]:
    """(folded stacks, what it said) of a short recording by nobody; no stacks where it could not start."""
    folder.chmod(0o777)
    output = folder / "out.folded"
    program = [BIN / "fleetprof-agent", "record", "--backend=core", "--duration=1.5s", f"--output={output}"]
    command = [*as_user(65534, *capabilities), *program, f"--state-dir={folder}"]
    if before:
        command = ["unshare", "--mount", "sh", "-c", f'{before} && exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert "Traceback" not in done.stderr
    return output.read_text() if output.exists() else "", done.stderr


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that everyone may reach, outside /tmp."""
    path = Path(f"/var/tmp/fleetprof-{os.getpid()}-{abs(hash(request.node.name))}")
    path.mkdir()
    yield path
    shutil.rmtree(path)


SEEN = {
    "shares": re.compile(r"^shares;.*share_of_50", re.MULTILINE),
    "gone": re.compile(r"^gone;.*share_of_50", re.MULTILINE),
    "kernel": re.compile(r"^dd;.*(read_zero|clear_user|iov_iter_zero)", re.MULTILINE),
}
"""Functions of another user's program, of one whose file is deleted, and of the kernel."""


def seen(stacks: str) -> set[str]:
    return {name for name, pattern in SEEN.items() if pattern.search(stacks)}


def test_six_capabilities_are_enough(workloads: None, folder: Path) -> None:
    stacks, said = record(folder, CAPABILITIES)
    assert seen(stacks) == set(SEEN), said


def test_homes_and_tmp_may_be_hidden_from_the_agent(workloads: None, folder: Path) -> None:
    """As by ProtectHome and PrivateTmp. The workloads lie in /tmp and are found through /proc/PID/root."""
    # The checkout, whose environment the agent runs in, may lie in one of them: it stays.
    hide = (
        f"mount --bind {ROOT} /mnt && mount -t tmpfs none /tmp && mount -t tmpfs none /home && "
        f"mkdir -p {ROOT} && mount --bind /mnt {ROOT}"
    )
    stacks, said = record(folder, CAPABILITIES, hide)
    assert seen(stacks) == set(SEEN), said


@pytest.mark.parametrize(
    ("without", "rest"),
    [
        ("BPF", set()),
        ("PERFMON", set()),
        ("SYS_PTRACE", {"kernel"}),
        ("DAC_READ_SEARCH", {"kernel"}),
        ("CHECKPOINT_RESTORE", {"kernel", "shares"}),
        ("SYSLOG", {"shares", "gone"}),
    ],
)
def test_each_is_needed(workloads: None, folder: Path, without: str, rest: set[str]) -> None:
    stacks, said = record(folder, [name for name in CAPABILITIES if name != without])
    assert seen(stacks) == rest, said
    assert rest or f"CAP_{without}" in said


def test_the_table_in_the_documentation_names_them_all() -> None:
    documented = re.findall(
        r"^\| CAP_(\w+) \|", (ROOT / "deploy/systemd/README.md").read_text(), re.MULTILINE
    )
    assert sorted(documented) == sorted(CAPABILITIES)
