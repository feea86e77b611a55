"""What this host is and offers, fact by fact, with what each means for the agent and what to do about it."""

import ctypes
import os
import platform
import re
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.libbpf import Library
from fleetprof.errors import UnavailableError

RING_BUFFER_KERNEL = (5, 8)
"""First kernel with the BPF ring buffer and CAP_BPF (man 7 capabilities)."""

CGROUP_MEMORY_KERNEL = (5, 11)
"""From here on BPF memory is charged to the control group and RLIMIT_MEMLOCK no longer counts."""

_CAPABILITIES = {
    "CAP_BPF": 39,
    "CAP_PERFMON": 38,
    "CAP_SYS_PTRACE": 19,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SYSLOG": 34,
    "CAP_CHECKPOINT_RESTORE": 40,
}
"""What sampling needs, in this order: programs, perf events, other processes' /proc, their files, kernel
addresses, and /proc/PID/map_files (names of files that were deleted or replaced). Numbers from
linux/capability.h."""

PRIVILEGES = "privileges"
"""Name of the fact that most others depend on."""

_CAP_SYS_ADMIN = 21
_ADMIN_GIVES = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_CHECKPOINT_RESTORE"})
"""What CAP_SYS_ADMIN stands in for; before Linux 5.8 and 5.9 it was all there was."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing looked at. `ok` False means that something does not work because of it; `advice` says what to
    do (a fact may be ok and still have advice for more)."""

    name: str
    found: str
    ok: bool = True
    advice: str = ""


def gather(
    proc: Path = Path("/proc"), sys: Path = Path("/sys"), debug: Path = Path("/usr/lib/debug")
) -> list[Fact]:
    """All facts, most important first. Needs no privileges and never raises: what cannot be read says so."""
    looks: tuple[Callable[[], Fact], ...] = (
        _kernel,
        _architecture,
        lambda: privileges(proc),
        lambda: _btf(sys),
        _libbpf,
        lambda: lockdown(sys),
        lambda: kernel_addresses(proc),
        lambda: perf_paranoid(proc),
        _locked_memory,
        lambda: control_groups(proc),
        lambda: _debug_symbols(debug),
    )
    return [look() for look in looks]


def kernel_version(release: str) -> tuple[int, int]:
    """(major, minor) of a kernel release such as "6.1.0-13-amd64"; (0, 0) when it is not understood."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _kernel() -> Fact:
    release = platform.release()
    if kernel_version(release) >= RING_BUFFER_KERNEL:
        return Fact("kernel", release)
    return Fact(
        "kernel", release, False, "BPF sampling needs Linux 5.8 or newer; backend perf works on older ones."
    )


def _architecture() -> Fact:
    machine, cpus = platform.machine(), os.cpu_count() or 1
    found = f"{machine}, {cpus} CPU{'s' if cpus > 1 else ''}"
    known = machine in ("x86_64", "aarch64")
    return Fact("machine", found, known, "" if known else "fleetprof is built for x86_64 and aarch64.")


def privileges(proc: Path) -> Fact:
    """Which of the needed capabilities this process has."""
    effective = _status_hex(proc, "CapEff")
    has_admin = bool(effective >> _CAP_SYS_ADMIN & 1)
    lacking = [
        name
        for name, bit in _CAPABILITIES.items()
        if not effective >> bit & 1 and not (has_admin and name in _ADMIN_GIVES)
    ]
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    if not lacking:
        return Fact(PRIVILEGES, f"{who}, all needed capabilities")
    advice = "Run as root (sudo fleetprof-agent doctor), or give the service these capabilities."
    return Fact(PRIVILEGES, f"{who}, lacks {', '.join(lacking)}", False, advice)


def _status_hex(proc: Path, field: str) -> int:
    for line in _read(proc / "self/status").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1], 16)
    return 0


def _btf(sys: Path) -> Fact:
    path = sys / "kernel/btf/vmlinux"
    try:
        return Fact("BTF", f"{path.stat().st_size / 1e6:.1f} MB at {path}")
    except OSError:
        advice = "Backend core needs a kernel with CONFIG_DEBUG_INFO_BTF; without it bcc or perf samples."
        return Fact("BTF", "none: the kernel does not describe its types", False, advice)


def _libbpf() -> Fact:
    try:
        version = Library.get().libbpf_version_string
    except UnavailableError as error:
        return Fact("libbpf", error.message, False, error.hint)
    version.restype = ctypes.c_char_p
    return Fact("libbpf", version().decode().removeprefix("v"))


def lockdown(sys: Path) -> Fact:
    """The kernel's lockdown mode: in "confidentiality" BPF cannot read memory."""
    match = re.search(r"\[(\w+)\]", _read(sys / "kernel/security/lockdown"))
    mode = match[1] if match else "none"
    if mode != "confidentiality":
        return Fact("lockdown", mode)
    advice = "Boot with lockdown=integrity or none: in this mode no BPF program may read stacks."
    return Fact("lockdown", mode, False, advice)


def kernel_addresses(proc: Path) -> Fact:
    """kernel.kptr_restrict: whether kernel functions can get their names."""
    value = _read(proc / "sys/kernel/kptr_restrict") or "unreadable"
    meaning = {"0": "0: readable by root", "1": "1: readable with CAP_SYSLOG", "2": "2: hidden from all"}
    hidden = value not in ("0", "1")
    advice = "Kernel functions stay without names: sysctl -w kernel.kptr_restrict=1" if hidden else ""
    return Fact("kernel addresses", meaning.get(value, value), not hidden, advice)


def perf_paranoid(proc: Path) -> Fact:
    """kernel.perf_event_paranoid: what users without CAP_PERFMON may measure."""
    value = _read(proc / "sys/kernel/perf_event_paranoid")
    if not value:
        advice = "The kernel is built without perf events: CPU time cannot be sampled."
        return Fact("perf events", "none", False, advice)
    return Fact("perf events", f"perf_event_paranoid = {value} (root is not bound by it)")


def _locked_memory() -> Fact:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    found = "unlimited" if limit == resource.RLIM_INFINITY else f"{limit // 1024} KiB"
    if kernel_version(platform.release()) >= CGROUP_MEMORY_KERNEL:
        return Fact("locked memory", f"{found} (this kernel does not count BPF maps against it)")
    enough = limit == resource.RLIM_INFINITY or limit >= 64 << 20
    advice = "" if enough else "Raise it: ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit."
    return Fact("locked memory", found, enough, advice)


def control_groups(proc: Path) -> Fact:
    """Which versions of control groups are mounted: containers and units are told from them."""
    kinds = {
        fields[2] for line in _read(proc / "self/mounts").splitlines() if len(fields := line.split()) > 2
    }
    one, two = "cgroup" in kinds, "cgroup2" in kinds
    if one and two:
        return Fact("control groups", "versions 1 and 2 (hybrid)")
    if one or two:
        return Fact("control groups", "version 2" if two else "version 1")
    advice = "Containers and units cannot be told: mount /sys/fs/cgroup (for a container: the host's)."
    return Fact("control groups", "not mounted", False, advice)


def _debug_symbols(debug: Path) -> Fact:
    count = sum(1 for _ in _debug_files(debug))
    if count:
        return Fact("debug symbols", f"{count} separate files under {debug}")
    advice = "Optional: packages NAME-dbgsym or NAME-dbg give stripped programs their function names."
    return Fact("debug symbols", "no separate files", True, advice)


def _debug_files(debug: Path) -> Iterator[Path]:
    try:
        yield from (debug / ".build-id").glob("*/*.debug")
    except OSError:
        return


def _read(path: Path) -> str:
    """The text of a small file, "" when it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
