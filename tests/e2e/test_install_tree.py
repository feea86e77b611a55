"""The installer in a clean Debian that boots with its own systemd; the container file's commands in another.

Downloads a system and all packages, so only with FLEETPROF_SLOW=1; takes about 8 minutes. Needs root, and of
Debian the packages debootstrap and systemd-container.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from collector.certificates import write_certificates
from tests.e2e.product import wait_until
from tests.e2e.test_install_privileges import as_user
from tests.e2e.test_install_wheel import SOURCES
from tests.e2e.test_install_wheel import wheel as wheel
from tests.unit.test_deploy_container import instructions

needed = ("debootstrap", "systemd-nspawn")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.kernel,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("FLEETPROF_SLOW"), reason="slow: set FLEETPROF_SLOW=1"),
    pytest.mark.skipif(not all(map(shutil.which, needed)), reason="needs debootstrap and systemd-nspawn"),
]

ROOT = Path(__file__).resolve().parents[2]
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
INSIDE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    **dict.fromkeys(("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), "/root/authorities.crt"),
    **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
}
"""The environment inside: a machine may reach the package index by an authority of its own."""


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=INSIDE, timeout=900)
    if options.get("check", True):
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def bootstrap(folder: Path, *packages: str) -> Path:
    run("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", "bookworm", folder)
    shutil.copy(AUTHORITIES, folder / "root/authorities.crt")
    return folder


@contextmanager
def mounted(tree: Path) -> Iterator[None]:
    """/proc, /sys and /dev of this machine in a tree."""
    with ExitStack() as undo:
        for name in ("proc", "sys", "dev"):
            run("mount", "--bind", f"/{name}", tree / name)
            undo.callback(run, "umount", tree / name)
        yield


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian without systemd, as images have it."""
    return bootstrap(tmp_path_factory.mktemp("plain") / "tree", "ca-certificates")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian with systemd, agent and collector, with TLS between them."""
    folder = tmp_path_factory.mktemp("host")
    tree = bootstrap(folder / "tree", "systemd", "systemd-sysv", "dbus")
    write_certificates(folder / "certificates", ["127.0.0.1"], 30)
    install = [
        ROOT / "deploy/install.sh",
        "--root",
        tree,
        "--package",
        wheel,
        "--tls",
        folder / "certificates",
    ]
    with mounted(tree):
        run(*install, "--collector")
        said = run(*install, "--collector-address", "127.0.0.1:4040").stdout
        assert "The agent can sample this host with backend core." in said
        again = run(*install).stdout
        assert "fleetprof is up to date" in again
        assert 'collector = "127.0.0.1:4040"' in (tree / "etc/fleetprof/agent.toml").read_text()
        run("chroot", tree, "systemctl", "enable", "fleetprof-agent", "fleetprof-collector")
    shutil.copytree(ROOT / "deploy", tree / "root/deploy")
    shutil.copy(wheel, tree / "root/deploy")
    return tree


class Host:
    """A booted tree, with a network of its own."""

    def __init__(self, tree: Path) -> None:
        command = [
            "systemd-nspawn",
            "--quiet",
            f"--directory={tree}",
            "--register=no",
            "--keep-unit",
            "--boot",
        ]
        command += ["--private-network", "--capability=all", "--drop-capability=CAP_SYS_RESOURCE"]
        command += ["--system-call-filter=bpf perf_event_open", "--link-journal=no", "--resolv-conf=off"]
        self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run inside."""
        leader = self._children.read_text().split()[0]
        return run("nsenter", f"--target={leader}", "--all", "--", *command, check=check)

    def is_active(self, unit: str) -> bool:
        return (
            bool(self._children.read_text())
            and self.run("systemctl", "is-active", unit, check=False).returncode == 0
        )

    def status(self, unit: str) -> str:
        """/proc/PID/status of a service's main process."""
        pid = self.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()
        return self.run("cat", f"/proc/{pid}/status").stdout

    def stop(self) -> None:
        self._nspawn.terminate()
        self._nspawn.wait(60)


@pytest.fixture(scope="module")
def host(installed: Path) -> Iterator[Host]:
    booted = Host(installed)
    yield booted
    booted.stop()


UNITS = ("fleetprof-agent", "fleetprof-collector")
TOP = ("/opt/fleetprof/bin/fleetprof", "top", "--from", "now-5m")


def test_both_services_run_confined_and_windows_arrive_over_tls(host: Host) -> None:
    wait_until(lambda: all(map(host.is_active, UNITS)), "both services are active", 60)
    wait_until(lambda: " cores on average" in host.run(*TOP, check=False).stdout, "a window is stored", 90)
    journal = host.run("journalctl", "--no-pager", *(f"--unit={unit}" for unit in UNITS)).stdout
    assert "Traceback" not in journal
    for unit, capabilities in zip(UNITS, (6, 0), strict=True):
        status = dict(re.findall(r"^(\w+):\s+(\S+)", host.status(unit), re.MULTILINE))
        assert int(status["CapEff"], 16).bit_count() == int(status["CapBnd"], 16).bit_count() == capabilities
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        assert status["Uid"] != "0"
    key = host.run("stat", "--format=%U %a", "/etc/fleetprof/tls/agent.key").stdout.split()
    assert key == ["fleetprof-agent", "400"]


def test_the_collector_reloads_and_restarts(host: Host) -> None:
    pid = "systemctl", "show", "--property=MainPID", "--value", UNITS[1]
    before = host.run(*pid).stdout
    host.run("systemctl", "reload", UNITS[1])
    assert host.is_active(UNITS[1])
    assert host.run(*pid).stdout == before
    host.run("systemctl", "kill", "--signal=KILL", UNITS[1])
    wait_until(lambda: host.run(*pid).stdout not in (before, "0\n"), "it runs again", 60)
    wait_until(lambda: host.run(*TOP, check=False).returncode == 0, "it answers again", 60)
    assert host.is_active(UNITS[1])


def test_the_installer_works_on_the_running_host(host: Host) -> None:
    install = ("/root/deploy/install.sh",)
    away = host.run(*install, "--collector-address", "127.0.0.1:9", check=False)
    assert (away.returncode, "nothing answers at 127.0.0.1:9" in away.stderr) == (1, True)
    done = host.run(*install).stdout
    assert "fleetprof is up to date" in done
    assert re.search(r"ok   127\.0\.0\.1:4040", done), done
    assert "the web UI is at http://127.0.0.1:8080" in host.run(*install, "--collector").stdout


def test_removing_leaves_nothing(host: Host, installed: Path) -> None:
    host.run("/root/deploy/install.sh", "--uninstall")
    assert (installed / "etc/fleetprof/agent.toml").exists()
    assert host.is_active(UNITS[1])
    host.run("/root/deploy/install.sh", "--uninstall", "--purge")
    host.run("/root/deploy/install.sh", "--uninstall", "--collector", "--purge")
    left = [path for name in ("etc", "opt", "var/lib") for path in (installed / name).rglob("*fleetprof*")]
    assert not left
    assert "fleetprof" not in (installed / "etc/passwd").read_text()


def build(stage: str, plain: Path, folder: Path) -> Path:
    """Carry out the instructions of one stage of the container file, and of those it stands on; its tree."""
    tree = folder / stage
    if tree.exists():
        return tree
    for at, name, rest in instructions():
        if at != stage:
            continue
        if name == "FROM":
            base = rest.split()[0]
            run("cp", "-a", plain if "/" in base else build(base, plain, folder), tree)
        elif name == "COPY":
            copy(rest.split(), tree, plain, folder)
        elif name == "RUN":
            with mounted(tree):
                run("chroot", tree, "/bin/bash", "-euo", "pipefail", "-c", rest)
    return tree


def copy(words: list[str], tree: Path, plain: Path, folder: Path) -> None:
    """COPY: from another stage, or what the build's context has."""
    target = tree / words[-1].lstrip("/")
    if words[0].startswith("--from="):
        source = build(words[0].removeprefix("--from="), plain, folder) / words[1].lstrip("/")
        run("cp", "-a", source, target)
        return
    target.mkdir(parents=True)
    for name in SOURCES:
        run("cp", "-a", ROOT / name, target)


def test_the_agents_image_samples(plain: Path, tmp_path: Path) -> None:
    tree = build("agent", plain, tmp_path)
    assert not list(tree.glob("usr/bin/clang*"))
    assert not list((tree / "opt/fleetprof").rglob("chdb"))
    names = re.findall(r"CAP_(\w+)", (ROOT / "deploy/systemd/fleetprof-agent.service").read_text())
    with mounted(tree):
        confined = as_user(0, *dict.fromkeys(names))
        done = run("chroot", tree, *confined, "/opt/fleetprof/bin/fleetprof-agent", "doctor")
    assert "The agent can sample this host with backend core." in done.stdout


def test_the_collectors_image_answers(plain: Path, tmp_path: Path) -> None:
    tree = build("collector", plain, tmp_path)
    (environment,) = (rest for at, name, rest in instructions() if (at, name) == ("collector", "ENV"))
    variables = environment.replace("8080", "18080").replace("4040", "14040").split()
    with mounted(tree):
        command = ["chroot", "--userspec=65532:65532", tree, "env", *variables]
        server = subprocess.Popen([*command, "/opt/fleetprof/bin/fleetprof", "up", "--no-agent"], env=INSIDE)
        try:
            fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:18080/readyz').status)"
            python = ("chroot", tree, "/opt/fleetprof/bin/python", "-c", fetch)
            wait_until(lambda: run(*python, check=False).stdout.strip() == "200", "it is ready", 60)
        finally:
            server.terminate()
            assert server.wait(60) == 0
