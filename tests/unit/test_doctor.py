"""doctor: what each fact means, whether a collector answers, and how the report reads."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from agent.backends.interface import Probe
from agent.doctor import Report, collector_fact, render
from agent.host_facts import (
    PRIVILEGES,
    Fact,
    control_groups,
    gather,
    kernel_addresses,
    kernel_version,
    lockdown,
    perf_paranoid,
    privileges,
)
from fleetprof.setting_kinds import Address

ALL, ADMIN_ONLY, NONE = "000001ffffffffff", f"{1 << 21 | 1 << 19 | 1 << 2 | 1 << 34:016x}", "0000000000000000"


def tree(root: Path, **files: str) -> Path:
    """Write files; `__` in a name stands for `/`."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("effective", "ok", "lacks"),
    [
        (ALL, True, ""),
        (ADMIN_ONLY, True, ""),
        (
            NONE,
            False,
            "lacks CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYSLOG, CAP_CHECKPOINT_RESTORE",
        ),
        (f"{1 << 40 | 1 << 39 | 1 << 38 | 1 << 2 | 1 << 34:016x}", False, "lacks CAP_SYS_PTRACE"),
        (
            f"{1 << 39 | 1 << 38 | 1 << 19 | 1 << 2 | 1 << 34:016x}",
            False,
            "lacks CAP_CHECKPOINT_RESTORE",
        ),
    ],
)
def test_privileges_name_what_is_lacking(tmp_path: Path, effective: str, ok: bool, lacks: str) -> None:
    fact = privileges(tree(tmp_path, self__status=f"Name:\tx\nCapPrm:\t{NONE}\nCapEff:\t{effective}\n"))
    assert fact.ok == ok
    assert fact.found.endswith(lacks or "all needed capabilities")
    assert bool(fact.advice) != ok


@pytest.mark.parametrize(("value", "ok"), [("0", True), ("1", True), ("2", False), ("", False)])
def test_hidden_kernel_addresses_come_with_a_remedy(tmp_path: Path, value: str, ok: bool) -> None:
    fact = kernel_addresses(tree(tmp_path, sys__kernel__kptr_restrict=value + "\n"))
    assert fact.ok == ok
    assert ("sysctl" in fact.advice) != ok


@pytest.mark.parametrize(
    ("text", "found", "ok"),
    [
        ("none [integrity] confidentiality\n", "integrity", True),
        ("none integrity [confidentiality]\n", "confidentiality", False),
        ("[none] integrity confidentiality\n", "none", True),
    ],
)
def test_lockdown(tmp_path: Path, text: str, found: str, ok: bool) -> None:
    fact = lockdown(tree(tmp_path, kernel__security__lockdown=text))
    assert (fact.found, fact.ok) == (found, ok)


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "version 2"),
        ("tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n", "version 1"),
        ("cgroup /a cgroup rw 0 0\ncgroup2 /b cgroup2 rw 0 0\n", "versions 1 and 2 (hybrid)"),
        ("proc /proc proc rw 0 0\n", "not mounted"),
    ],
)
def test_control_groups(tmp_path: Path, mounts: str, found: str) -> None:
    fact = control_groups(tree(tmp_path, self__mounts=mounts))
    assert (fact.found, fact.ok) == (found, found != "not mounted")


def test_a_bare_host_is_described_without_failing(tmp_path: Path) -> None:
    facts = {fact.name: fact for fact in gather(tmp_path, tmp_path, tmp_path)}
    assert not facts["BTF"].ok
    assert "bcc or perf" in facts["BTF"].advice
    assert not perf_paranoid(tmp_path).ok
    assert all(fact.ok or fact.advice for fact in facts.values())


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-13-amd64", (6, 1)), ("5.15.0", (5, 15)), ("odd", (0, 0))]
)  # fmt: skip
def test_kernel_releases(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version


def test_a_collector_that_answers() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert collector_fact(Address("127.0.0.1", port)) == Fact(f"127.0.0.1:{port}", "answers")
    finally:
        server.stop(None)


def test_a_collector_that_is_away_and_a_stranger_in_its_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        address = Address(*stranger.getsockname())
        fact = collector_fact(address, timeout_s=0.2)
        assert (fact.ok, fact.found) == (False, "does not speak gRPC")
    fact = collector_fact(address)
    assert (fact.ok, fact.found) == (False, "Connection refused")
    assert "fleetprof up" in fact.advice


REPORT = Report(
    host="h1",
    facts=(Fact("kernel", "6.1"), Fact("BTF", "none", False, "Use another kernel.")),
    backends=(
        Probe("core", "no BTF", {"cpu": "ok", "sched": "needs BTF"}),
        Probe("bcc"),
        Probe("perf"),
    ),
    collector=Fact("c:1", "Connection refused", False, "Start it."),
    configured="auto",
)


def test_the_report_says_what_is_off_why_and_what_to_do() -> None:
    lines = [line.split() for line in render(REPORT).splitlines()]
    assert ["ok", "kernel", "6.1"] in lines
    assert ["off", "BTF", "none"] in lines
    assert ["→", "Use", "another", "kernel."] in lines
    assert ["off", "core", "no", "BTF"] in lines
    assert ["off", "sched:", "needs", "BTF"] in lines
    assert ["ok", "bcc", "works,", "and", "is", "used"] in lines
    assert ["ok", "perf", "works"] in lines
    assert ["off", "c:1", "Connection", "refused"] in lines


@pytest.mark.parametrize(("configured", "chosen"), [("auto", "bcc"), ("perf", "perf"), ("core", "")])
def test_which_backend_would_run(configured: str, chosen: str) -> None:
    found = replace(REPORT, configured=configured)
    assert (found.chosen, found.works) == (chosen, bool(chosen))
    assert ("set backend = auto" in render(found)) != bool(chosen)


def test_without_privileges_the_verdict_is_root() -> None:
    facts = (Fact(PRIVILEGES, "user 1000, lacks CAP_BPF", False, "Run as root."),)
    assert "root would change that" in render(replace(REPORT, facts=facts, configured="core"))


def test_json_holds_the_whole_report() -> None:
    document = json.loads(json.dumps(REPORT.as_json()))
    assert document["works"] is True
    assert document["backends"][0]["hooks"] == {"cpu": "ok", "sched": "needs BTF"}
    assert document["facts"][1] == {
        "name": "BTF",
        "found": "none",
        "ok": False,
        "advice": "Use another kernel.",
    }
