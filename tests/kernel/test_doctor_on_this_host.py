"""doctor on the running kernel: a backend works for root; without privileges it says what root changes."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.backends.interface import Probe
from agent.backends.probe import probe_all
from agent.config import BACKENDS
from agent.host_facts import gather

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).resolve().parents[2]
DOCTOR = """
import json
from agent.config import TABLE, AgentConfig
from agent.doctor import render, report
from fleetprof.settings import load_settings
found = report(load_settings(TABLE, AgentConfig, {"collector": "127.0.0.1:1"}, {}).config)
print(json.dumps({**found.as_json(), "text": render(found)}))
"""
WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Root as in a container that was given nothing. (Another user could not read a Python in root's home.)"""


def doctor(*wrapper: str) -> dict[str, Any]:
    command = [*wrapper, sys.executable, "-c", DOCTOR]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def test_as_root_this_host_can_be_sampled() -> None:
    found = doctor()
    assert found["works"]
    assert [probe["backend"] for probe in found["backends"]] == list(BACKENDS[1:])
    facts = {fact["name"]: fact for fact in found["facts"]}
    assert facts["privileges"]["ok"]
    assert facts["kernel"]["found"] == platform.release()
    assert facts["libbpf"]["found"].split(".")[0] == "1"
    assert "Connection refused" in found["text"]


def test_without_privileges_it_says_what_root_would_change() -> None:
    found = doctor(*WITHOUT_CAPABILITIES)
    facts = {fact["name"]: fact for fact in found["facts"]}
    assert facts["privileges"]["found"].startswith("root, lacks CAP_BPF")
    assert "sudo fleetprof-agent doctor" in facts["privileges"]["advice"]
    assert not found["works"]
    assert "root would change that" in found["text"]
    assert all(probe["why_not"] for probe in found["backends"])


def test_probes_and_facts_agree_about_btf() -> None:
    probes: dict[str, Probe] = {probe.backend: probe for probe in probe_all()}
    btf = next(fact for fact in gather() if fact.name == "BTF")
    assert btf.ok or probes["core"].why_not
