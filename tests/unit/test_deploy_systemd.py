"""The systemd files: valid without a warning, hardened, and in step with the settings that they are for."""

import importlib.util
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.config import TABLE as AGENT_TABLE
from agent.config import AgentConfig
from collector.config import TABLE as COLLECTOR_TABLE
from collector.config import CollectorConfig
from fleetprof.setting_kinds import Address
from fleetprof.settings import Setting, load_settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy/systemd"
UNITS = ("fleetprof-agent", "fleetprof-collector")
CAPABILITIES = {
    "CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG", "CAP_CHECKPOINT_RESTORE"
}  # fmt: skip
"""tests/e2e/test_install_privileges.py shows what each is for."""

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
needs_root = pytest.mark.kernel


def lines(unit: str, name: str) -> list[str]:
    """The values of a setting in a unit, in order."""
    text = (FOLDER / f"{unit}.service").read_text()
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the units, whose programs exist."""
    for unit in UNITS:
        text = (FOLDER / f"{unit}.service").read_text()
        (tmp_path / f"{unit}.service").write_text(text.replace("/opt/fleetprof/bin", str(tmp_path)))
    for program in ("fleetprof", "fleetprof-agent"):
        (tmp_path / program).symlink_to("/bin/true")
    return tmp_path


@needs_systemd
def test_units_are_valid_without_a_warning(installed: Path) -> None:
    units = [installed / f"{unit}.service" for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


@needs_systemd
@pytest.mark.parametrize(("unit", "tenths"), [("fleetprof-agent", 31), ("fleetprof-collector", 15)])
def test_units_are_hardened(installed: Path, unit: str, tenths: int) -> None:
    """systemd's own exposure level, from 0 (safe) to 10; a service without hardening has 9.6."""
    path = installed / f"{unit}.service"
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", f"--threshold={tenths}", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot look at a unit offline")
    assert done.returncode == 0, done.stdout[-200:]


def test_the_agent_has_exactly_the_capabilities_that_it_needs() -> None:
    assert set(lines(UNITS[0], "AmbientCapabilities")[0].split()) == CAPABILITIES
    assert lines(UNITS[0], "CapabilityBoundingSet") == lines(UNITS[0], "AmbientCapabilities")
    assert lines(UNITS[1], "CapabilityBoundingSet") == [""]
    assert not set(lines(UNITS[0], "ProtectKernelTunables") + lines(UNITS[0], "ProtectKernelLogs"))


@pytest.mark.parametrize("unit", UNITS)
def test_each_service_has_a_user_of_its_own_and_limits(unit: str) -> None:
    assert lines(unit, "User") == [unit]
    assert all(lines(unit, name) for name in ("MemoryMax", "MemoryHigh", "TasksMax", "LimitNOFILE"))
    assert lines(unit, "NoNewPrivileges") == ["yes"]


def examples_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_examples", FOLDER / "write_examples.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_example_settings_are_those_of_the_tables() -> None:
    for path, text in examples_module().examples().items():
        assert path.read_text() == text, f"run: make examples ({path.name})"


def load(name: str, text: str, folder: Path) -> Any:
    """The configuration that a text gives."""
    file = folder / f"{name}.toml"
    file.write_text(text)
    table: tuple[Setting, ...] = AGENT_TABLE if name == "agent" else COLLECTOR_TABLE
    kind: type[Any] = AgentConfig if name == "agent" else CollectorConfig
    return load_settings(table, kind, {"config": str(file)}, {}).config


@pytest.mark.parametrize("name", ["agent", "collector"])
def test_examples_load_and_what_is_commented_out_is_the_default(tmp_path: Path, name: str) -> None:
    text = (FOLDER / f"{name}.toml").read_text()
    as_it_is = load(name, text, tmp_path)
    assert load(name, re.sub(r"(?m)^#(\w+ = )", r"\1", text), tmp_path) == as_it_is
    default = load(name, "", tmp_path)
    if name == "collector":
        data = Path("/var/lib") / lines(UNITS[1], "StateDirectory")[0]
        default = replace(default, grpc=Address("0.0.0.0", 4040), data=data)
    else:
        assert as_it_is.state_dir == Path("/var/lib") / lines(UNITS[0], "StateDirectory")[0]
    assert as_it_is == default


@needs_systemd
@needs_root
@pytest.mark.parametrize("unit", UNITS)
def test_users_are_made_and_keys_are_theirs_alone(tmp_path: Path, unit: str) -> None:
    key = tmp_path / f"etc/fleetprof/tls/{unit.removeprefix('fleetprof-')}.key"
    key.parent.mkdir(parents=True)
    key.write_text("secret")
    for program, kind in (("sysusers", "sysusers"), ("tmpfiles", "tmpfiles")):
        create = ["--create"] if program == "tmpfiles" else []
        command = [f"systemd-{program}", *create, f"--root={tmp_path}", FOLDER / f"{unit}.{kind}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    user = next(
        line.split(":")
        for line in (tmp_path / "etc/passwd").read_text().splitlines()
        if line.startswith(unit)
    )
    assert user[-1] == "/usr/sbin/nologin"
    assert (key.stat().st_uid, key.stat().st_mode & 0o777) == (int(user[2]), 0o400)
