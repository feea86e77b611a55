"""What `doctor` says about the names of compiled Java code on this host. Only looks; no Java VM is asked."""

import os
import posixpath

from agent.host_facts import Fact
from agent.jvm.target import Refused, Target
from agent.process_reader import PROC, ProcessReader

NAME = "Java names"
MAX_TOLD = 5
_NEEDED = 1 << 7 | 1 << 6
"""CAP_SETUID, CAP_SETGID: numbers from linux/capability.h."""


def java_names(wanted: bool) -> Fact:
    """Whether the running Java VMs would tell the names of what they compile, and which do not."""
    if not wanted:
        return Fact(NAME, "turned off", True, "Set java_names = true to see compiled Java code by name.")
    vms = java_vms()
    refusals = {pid: why for pid in vms if (why := _obstacle(pid))}
    if not refusals:
        return Fact(NAME, f"asked of {len(vms)} Java VMs" if vms else "no Java VM runs here")
    told = "; ".join(f"process {pid}: {why}" for pid, why in list(refusals.items())[:MAX_TOLD])
    return Fact(NAME, f"not from {len(refusals)} of {len(vms)} Java VMs", False, told)


def java_vms() -> list[int]:
    """The processes that have HotSpot's library mapped, as far as they can be read."""
    return [int(name) for name in os.listdir(PROC) if name.isdigit() and _is_java_vm(int(name))]


def _is_java_vm(pid: int) -> bool:
    try:
        with ProcessReader(pid) as reader:
            return any(posixpath.basename(mapping.path) == "libjvm.so" for mapping in reader.mappings())
    except OSError:
        return False


def _obstacle(pid: int) -> str:
    """Why a Java VM would not tell its names; "" where nothing speaks against it."""
    try:
        with Target(pid) as target:
            if target.facts.uid != os.geteuid() and not _may_act_as_others():
                return f"the agent lacks CAP_SETUID and CAP_SETGID to ask it as user {target.facts.uid}"
            if not target.listens():
                target.check_wakeable()
    except (Refused, OSError) as error:
        return str(error)
    return ""


def _may_act_as_others() -> bool:
    with open(f"{PROC}/self/status", "rb") as file:
        effective = next(line.split()[1] for line in file if line.startswith(b"CapEff:"))
    return int(effective, 16) & _NEEDED == _NEEDED
