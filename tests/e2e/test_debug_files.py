"""Two agents sample one stripped program that neither can name: its debug file is sent once, and names appear."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.product import BIN, Command, Up, top_names, up, wait_until
from tests.workloads.build import SOURCES, tool
from tests.workloads.stripped import Stripped, build_stripped

pytestmark = [pytest.mark.e2e, pytest.mark.kernel, pytest.mark.timeout(600)]

PATIENCE_S = 240
"""Other tests run beside this one."""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Stripped]:
    """Runs. Its debug file is beside it, and has more symbols than an agent with little memory can use."""
    built = build_stripped("cpp", tmp_path, str(SOURCES / "many_symbols.S"))
    built.whole.unlink()
    subprocess.run([tool("objcopy"), f"--add-gnu-debuglink={built.debug}", built.stripped], check=True)
    shutil.move(built.stripped, tmp_path / "checkout")
    with subprocess.Popen([tmp_path / "checkout", "900", "40"], stdout=subprocess.DEVNULL) as process:
        yield Stripped(built.whole, tmp_path / "checkout", built.debug)
        process.kill()


def test_one_upload_for_two_agents_and_names_afterwards(
    tmp_path: Path, program: Stripped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETPROF_SYMBOL_MEMORY", "4 MiB")
    monkeypatch.setenv("FLEETPROF_DEBUG_FILES_RATE", "64 MiB")
    with up(tmp_path / "data") as running:
        running.wait_to_say("Collector ready", PATIENCE_S)
        command = ["fleetprof-agent", "run", "--collector", f"127.0.0.1:{running.grpc}", "--backend", "perf"]
        second = Command(*command, "--host", "second", "--state-dir", tmp_path / "agent")
        try:
            wait_until(lambda: named(running, 'host="second"'), "names on the second host", PATIENCE_S)
            wait_until(lambda: named(running, 'host!="second"'), "names on this host", PATIENCE_S)
            assert second.end(seconds=PATIENCE_S) == 0
        finally:
            second.kill()
        said, build_id = running.said + second.said, program.build_id
        assert said.count(f"debug information of checkout ({build_id})") == 1, said
        listing = [BIN / "fleetprof-collector", "debuginfo", "list", "--data", tmp_path / "data"]
        listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
        (line,) = [line for line in listed.splitlines() if build_id in line]
        assert " lines " in line
        assert " agent " in line
        assert running.end(seconds=PATIENCE_S) == 0
        assert "Traceback" not in running.said + second.said


def named(running: Up, hosts: str) -> list[str]:
    """Functions of the program with their names, inlined ones too."""
    names = top_names(running, f'{{service="checkout",{hosts}}}')
    return [name for name in names if "shop::" in name]
