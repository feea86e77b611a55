"""Choosing a backend on hosts that lack something: each lack is made for real, in a namespace of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.backends.bcc import BccBackend
from agent.backends.hooks import hooks_here
from agent.backends.interface import BackendOptions
from agent.backends.probe import BACKENDS, choose, probe_all
from fleetprof.errors import InputError, UnavailableError
from fleetprof.hooks import BPF_RUN_TIME

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
LOOK = """
import json, sys
from agent.backends.interface import BackendOptions
from agent.backends.probe import choose, probe_all
from fleetprof.errors import UnavailableError
try:
    backend = choose(sys.argv[1], BackendOptions(unwind="auto"))
    missing = {lack.program: lack.why for lack in backend.unavailable}
    backend.close()
    found = {"name": backend.name, "missing": missing}
except UnavailableError as error:
    found = {"error": error.message, "hint": error.hint}
probes = [[probe.backend, probe.why_not, probe.hooks] for probe in probe_all()]
print(json.dumps({**found, "probes": probes}))
"""


def look(name: str, *prefix: str) -> dict[str, Any]:
    """What `choose` and `probe_all` say in a process started by `prefix`."""
    command = [*prefix, sys.executable, "-c", LOOK, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def with_mount(source: Path, target: Path) -> tuple[str, ...]:
    """Run with `source` in the place of `target`."""
    script = f'mount --bind "{source}" "{target}" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


def without_capabilities() -> tuple[str, ...]:
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


def library() -> Path:
    maps = Path("/proc/self/maps").read_text().splitlines()
    return Path(next(line.split()[-1] for line in maps if "/libbpf.so" in line))


def test_here_core_is_chosen_with_its_scheduler_program() -> None:
    assert look("auto") | {"probes": []} == {"name": "core", "missing": {}, "probes": []}


def test_without_btf_cpu_sampling_goes_on_and_says_what_is_missing(tmp_path: Path) -> None:
    found = look("auto", *with_mount(tmp_path, Path("/sys/kernel/btf")))
    assert found["name"] == "core"
    assert "type information" in found["missing"]["sched"]
    assert "follow frame pointers only" in found["missing"]["unwind"]
    assert "type information" in found["missing"]["unwind"]
    assert "type information" in found["probes"][0][2]["BTF"]
    assert found["probes"][0][2]["BPF programs"] == "ok"


def test_bcc_needs_no_btf_either(tmp_path: Path) -> None:
    found = look("bcc", *with_mount(tmp_path, Path("/sys/kernel/btf")))
    assert found["name"] == "bcc"
    assert "backend core alone unwinds" in found["missing"]["unwind"]


def test_without_capabilities_each_backend_says_so() -> None:
    found = look("auto", *without_capabilities())
    assert "no backend can run" in found["error"]
    for name in BACKENDS:
        assert f"\n  {name}: " in found["error"]
    assert "root" in found["hint"]
    assert all(why for _, why, _ in found["probes"])
    assert all(found["probes"][0][2][hook] != "ok" for hook in ("perf clock", "ring buffer", "uprobes"))


def test_what_bpf_programs_cost_is_not_known_without_sys_admin() -> None:
    assert look("core")["probes"][0][2][BPF_RUN_TIME] == "ok"
    found = look("core", "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    assert found["name"] == "core"
    assert "Not measured" in found["probes"][0][2][BPF_RUN_TIME]


def test_without_libbpf_call_chains_remain() -> None:
    BACKENDS["core"](BackendOptions(sched=False)).close()  # maps the library, so that it can be found
    found = look("auto", *with_mount(Path("/dev/null"), library()))
    assert found["name"] == "perf"
    whys = {name: why for name, why, _ in found["probes"]}
    assert "libbpf is not installed" in whys["core"]
    assert whys["bcc"]


def test_unbuilt_programs_name_the_build(tmp_path: Path) -> None:
    found = look("core", *with_mount(tmp_path, ROOT / "agent" / "objects"))
    assert "cpu.bpf.o is not built" in found["error"]
    assert "make bpf" in found["hint"]


def test_missing_bcc_names_its_package(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="BCC is not installed") as raised:
        BccBackend(BackendOptions(), folders=(tmp_path,))
    assert "apt install python3-bpfcc" in raised.value.hint


def test_what_the_bcc_loader_cannot_do_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "libbcc.py").write_text("")
    (tmp_path / "__init__.py").write_text("raise OSError('libbcc.so.0: no such library')\n")
    with pytest.raises(UnavailableError) as raised:
        BccBackend(BackendOptions(), folders=(tmp_path,))
    assert "libbcc.so.0: no such library" in raised.value.message
    assert "\n" not in raised.value.message


def test_unknown_names_and_impossible_frequencies_are_refused() -> None:
    with pytest.raises(InputError, match='no backend "ebpf"'):
        choose("ebpf", BackendOptions())
    for backend in BACKENDS:
        for frequency_hz in (0, -1, 10_000_000):
            with pytest.raises(InputError, match="sampling frequency"):
                choose(backend, BackendOptions(frequency_hz=frequency_hz))


def test_all_backends_can_run_here_and_hooks_are_told() -> None:
    probes = probe_all()
    assert [(probe.backend, probe.why_not) for probe in probes] == [("core", ""), ("bcc", ""), ("perf", "")]
    assert probes[0].hooks["sched_switch with types"] == "ok"
    assert probes[0].hooks == hooks_here()
