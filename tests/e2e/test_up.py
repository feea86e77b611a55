"""From a fresh folder to a flame graph, by the commands that people type; and what survives a kill -9."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetprof.formats import pprof
from tests.e2e.product import BIN, Command, Up, free_port, top_names, up, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.kernel]

SHARES = '{process="shares"}'


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    binary = tmp_path_factory.mktemp("workload") / "shares"
    source = Path(__file__).parent.parent / "workloads" / "shares.c"
    subprocess.run(["gcc", "-O1", "-fno-omit-frame-pointer", "-o", binary, source], check=True)
    running = subprocess.Popen([binary, "600", "16"], stdout=subprocess.DEVNULL)
    yield
    running.kill()
    running.wait()


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, workload: None) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("up") / "data") as running:
        running.wait_to_say("A flame graph of this machine")
        wait_until(lambda: top_names(running, SHARES), "the workload is in the store")
        yield running


def fleetprof(product: Up, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([BIN / "fleetprof", *arguments, "--server", product.url], capture_output=True)


def test_the_workload_is_seen_with_its_functions(product: Up) -> None:
    # On a busy machine the first windows may hold but a few samples of it.
    functions = {"share_of_50", "share_of_30", "share_of_20"}
    wait_until(lambda: set(top_names(product, SHARES)[:3]) == functions, "its functions lead")


def test_values_on_all_ways_out_are_the_same(product: Up) -> None:
    span = {"from": "now-5m", "to": "now-15s"}
    top = product.get("top", query=SHARES, **span)
    begin, end = (str(top["range"][name]) for name in ("start_s", "end_s"))
    asked = ("--from", begin, "--to", end, SHARES)
    folded = fleetprof(product, "query", "--format", "folded", *asked).stdout.decode()
    profile = pprof.decode(fleetprof(product, "query", "--format", "pprof", *asked).stdout)
    assert sum(int(line.rpartition(" ")[2]) for line in folded.splitlines()) == top["total"]
    assert int(profile.values[:, -1].sum()) == top["total"]
    assert (
        product.get("profile", query=SHARES, **{"from": begin, "to": end})["flame"]["total"] == top["total"]
    )


def test_wall_time_is_the_sum_of_its_parts(product: Up) -> None:
    def adds_up() -> bool:
        span = product.get("top", query=SHARES, **{"from": "now-2m", "to": "now-20s"})["range"]
        fixed = {"from": str(span["start_s"]), "to": str(span["end_s"])}
        total = {
            kind: product.get("top", query=SHARES, type=kind, **fixed)["total"]
            for kind in ("cpu", "runq", "offcpu", "wall")
        }
        return bool(total["wall"] == total["cpu"] + total["runq"] + total["offcpu"] > 0)

    # On a busy machine a window of that time may come between two of the questions.
    wait_until(adds_up, "wall time is CPU time and waits")


def test_the_terminal_answers(product: Up) -> None:
    top = fleetprof(product, "top", SHARES)
    assert (top.returncode, b"share_of_50" in top.stdout) == (0, True)
    services = fleetprof(product, "labels", "service")
    assert b"shares" in services.stdout
    bad = fleetprof(product, "top", "{service=")
    assert bad.returncode == 2
    assert b"character" in bad.stderr
    assert b"Traceback" not in bad.stderr


def bpf_programs_of(pid: int) -> set[int]:
    """Ids of the programs that a process holds."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return {int(number) for text in texts for number in re.findall(r"^prog_id:\s*(\d+)", text, re.MULTILINE)}


def bpf_program_ids() -> set[int]:
    listed = subprocess.run(["bpftool", "prog", "--json"], capture_output=True, check=True).stdout
    return {program["id"] for program in json.loads(listed)}


def test_a_killed_agent_leaves_nothing_behind_and_comes_back(product: Up) -> None:
    pid = product.agent_pid()
    before = bpf_programs_of(pid)
    assert before & bpf_program_ids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: product.agent_pid() not in (0, pid), "the agent was started again")
    wait_until(lambda: not (bpf_program_ids() & before), "the killed agent's BPF programs are gone", 20)


def test_ctrl_c_stores_the_last_window_and_the_next_start_has_it(tmp_path: Path, workload: None) -> None:
    with up(tmp_path / "data") as first:
        first.wait_to_say("A flame graph of this machine")
        assert first.end() == 0
        assert "everything is stored" in first.said
        assert "Traceback" not in first.said
    with up(tmp_path / "data", "--no-agent") as second:
        second.wait_to_say("UI ready")
        wait_until(lambda: top_names(second, SHARES), "what the first run stored")
        assert second.end(signal.SIGTERM) == 0


def test_a_killed_collector_reopens_its_store_and_the_agent_goes_on(tmp_path: Path, workload: None) -> None:
    data, port, http = tmp_path / "data", free_port(), free_port()
    address = f"127.0.0.1:{port}"
    start = ("fleetprof", "up", "--no-agent", "--grpc", address, "--http", f"127.0.0.1:{http}")
    collector = Command(*start, "--data", str(data))
    collector.wait_to_say("UI ready")
    # Without unwinding, which all other agents here do.
    state = ("--state-dir", str(tmp_path / "agent"), "--unwind=off")
    agent = Command("fleetprof-agent", "run", "--collector", address, *state)
    again = None
    try:
        wait_until(lambda: windows(http), "a window is stored")
        collector.kill()
        agent.wait_to_say("cannot be reached", 40)
        again = Command(*start, "--data", str(data))
        again.wait_to_say("UI ready")
        wait_until(lambda: windows(http) >= 4, "windows from before, during and after", 60)
        agent.wait_to_say("is back")
        assert agent.end(signal.SIGTERM) == 0
        lost = summary(http)["completeness"]
        assert lost["windows_received"] == lost["windows_expected"]
    finally:
        for command in (collector, agent, again):
            if command:
                command.kill()


def summary(http: int) -> dict[str, dict[str, int]]:
    found = Up.get(_At(http), "summary", **{"from": "now-10m"})
    return found or {"completeness": {"windows_received": 0, "windows_expected": 0}}


class _At(Up):
    """The API at a port, of a process that somebody else runs."""

    def __init__(self, http: int) -> None:
        self.http = http


def windows(http: int) -> int:
    return summary(http)["completeness"]["windows_received"]
