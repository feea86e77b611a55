"""The wheel in environments of its own: it holds all it needs, and an agent needs neither chDB nor Flask."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.e2e.product import Command, free_port, wait_until

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "agent",
    "bpf",
    "collector",
    "proto",
    "query_ui",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "setup.py",
)
"""What the build of an image sees (.containerignore)."""


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sources alone, without what a developer's checkout has lying about."""
    folder = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns("__pycache__", "objects")
    for name in SOURCES:
        source, copy = ROOT / name, folder / "src" / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copytree(source, copy, ignore=skip) if source.is_dir() else shutil.copy(source, copy)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, folder / "src")
    (built,) = folder.glob("*.whl")
    return built


def environment(folder: Path, *what: str | Path) -> Path:
    """The programs of a new environment in `folder` with these requirements (and options of pip)."""
    venv.create(folder, with_pip=False)
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin/python",
        "install",
        "--quiet",
        "--no-compile",
    )
    run(*pip, *what)
    return folder / "bin"


@pytest.fixture(scope="module")
def agent_only(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with fleetprof[agent], its dependencies from the package index."""
    return environment(tmp_path_factory.mktemp("agent"), f"{wheel}[agent]")


@pytest.fixture(scope="module")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and all else from the one of the tests: chDB alone is large."""
    programs = environment(tmp_path_factory.mktemp("all"), "--no-deps", wheel)
    print_folder = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(programs / "python", "-c", print_folder).strip())
    # A plain path goes behind the environment's own, and .pth files in it (this checkout's) are not read.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def test_an_agent_host_installs_no_store_and_no_web_server(agent_only: Path) -> None:
    code = """
import importlib.util as u, agent, fleetprof
print(*[name for name in ("chdb", "pyarrow", "flask", "scipy", "cryptography") if u.find_spec(name)])
print(agent.__file__)
"""
    found, where = run(agent_only / "python", "-c", code).split("\n")[:2]
    assert found == ""
    assert Path(where).is_relative_to(agent_only.parent)


@pytest.mark.kernel
def test_the_agent_records_from_its_wheel(agent_only: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.folded"
    options = ("--backend=core", "--duration=2s", f"--output={output}", f"--state-dir={tmp_path}")
    workload = subprocess.Popen(
        ["nice", "dd", "if=/dev/zero", "of=/dev/null", "bs=1M"], stderr=subprocess.DEVNULL
    )
    try:
        run(agent_only / "fleetprof-agent", "record", *options)
    finally:
        workload.kill()
        workload.wait()
    assert any(line.startswith("dd;") for line in output.read_text().splitlines())


@pytest.mark.kernel
def test_the_agents_metrics_are_served_from_its_wheel(agent_only: Path, tmp_path: Path) -> None:
    """prometheus-client is imported only then: it must be among the agent's own dependencies."""
    metrics = f"--metrics-listen=127.0.0.1:{free_port()}"
    command = (agent_only / "fleetprof-agent", "run", metrics, f"--state-dir={tmp_path}")
    agent = Command(*command, FLEETPROF_COLLECTOR=f"127.0.0.1:{free_port()}")
    try:
        agent.wait_to_say("Serving metrics")
        assert agent.end(15) == 0
    finally:
        agent.kill()


@pytest.mark.store
def test_the_central_host_runs_from_the_wheel_and_its_file(from_wheel: Path, tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text(f'grpc = "127.0.0.1:{free_port()}"\ndata = "{tmp_path}/data"\n')
    where = f"--http=127.0.0.1:{free_port()}"
    central = Command(from_wheel / "fleetprof", "up", "--no-agent", where, f"--config={file}")
    try:
        central.wait_to_say("UI ready")
        assert (
            "Collector ready: agents push to 127.0.0.1:" + file.read_text().split(":")[1][:4] in central.said
        )
        page = wait_until(lambda: run(*fetch(where.partition("=")[2] + "/")), "the first page")
        assert "/static/" in page
        mapped = Path(f"/proc/{central.process.pid}/cmdline").read_bytes()
        assert os.fsencode(from_wheel) in mapped
        central.process.send_signal(1)  # SIGHUP: reads the alert rules again, and goes on
        assert central.end() == 0
    finally:
        central.kill()


def fetch(address: str) -> tuple[str, ...]:
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
    return (sys.executable, "-c", code, f"http://{address}")
