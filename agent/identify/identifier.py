"""Gives a process its labels: who it is, which release it runs, and where.

Service and version decide what can be compared, so they are found without configuration. In order:
rules of the configuration; what the process declares (OpenTelemetry, Datadog); the Kubernetes workload or
container; the systemd unit; the program's own name. `version` likewise ends in the executable's build id.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.identify import kernel_thread
from agent.identify.cgroup import Cgroup, parse_cgroup
from agent.identify.declared import ENVIRONMENT_NAMES, Declared, declared
from agent.identify.label_value import clean
from agent.identify.program import Program, file_name, program_of
from agent.identify.rules import Rule, apply_rules
from agent.process import Process

__all__ = ["ENVIRONMENT_NAMES", "UNKNOWN_SERVICE", "HostIdentity", "Identifier"]

UNKNOWN_SERVICE = "(unknown)"
"""Service of samples whose process ended before it could be read."""

BUILD_ID_DIGITS = 12
MAX_REMEMBERED = 16384
_COMMAND_CHARS = 4096


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """What the configuration says about the whole host; an empty `host` means this machine's name."""

    host: str = ""
    environment: str = ""
    region: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Free labels."""
    rules: tuple[Rule, ...] = ()


class Identifier:
    """Labels of processes, remembered per process image (pid and start of the image)."""

    def __init__(self, identity: HostIdentity) -> None:
        self._identity = identity
        self._host = clean(identity.host or socket.gethostname())
        self._remembered: dict[tuple[int, int], dict[str, str]] = {}

    def host_labels(self) -> dict[str, str]:
        """Labels of the host itself, without a process: for idle time and the agent's own series."""
        free = {name: clean(value) for name, value in self._identity.labels.items()}
        known = {"environment": clean(self._identity.environment), "region": clean(self._identity.region)}
        return _without_empty({**free, "host": self._host, **known})

    def labels(self, process: Process | None, comm: str) -> dict[str, str]:
        """Labels of the thread called `comm` of `process`; None stands for one that could not be read.

        Empty labels are left out. `comm` and all that the process says about itself may be hostile: values
        are cleaned and bounded, nothing raises.
        """
        thread = clean(comm)
        if process is None:
            unknown = {"service": UNKNOWN_SERVICE, "process": thread, "thread": thread}
            return _without_empty({**self.host_labels(), **unknown})
        return _without_empty({**self._process_labels(process), "thread": thread})

    def _process_labels(self, process: Process) -> dict[str, str]:
        key = (process.pid, process.start_ns)
        if key not in self._remembered:
            while len(self._remembered) >= MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[key] = self._identify(process)
        return self._remembered[key]

    def _identify(self, process: Process) -> dict[str, str]:
        found = _kernel_labels(process) if process.is_kernel else self._found(process)
        labels = {**self.host_labels(), **_without_empty({name: clean(text) for name, text in found.items()})}
        facts = {**labels, "exe": process.exe, "command": " ".join(process.command_line)[:_COMMAND_CHARS]}
        return {**labels, **apply_rules(self._identity.rules, facts)}

    def _found(self, process: Process) -> dict[str, str]:
        """What the process itself tells, before rules; values not cleaned yet."""
        group = parse_cgroup(process.cgroup)
        said = declared(process.environment, process.command_line, bool(group.pod), self._host)
        program = program_of(process.exe, process.command_line, process.environment)
        return {
            "service": _service(said, group, program) or process.comm,
            "version": _version(said, program, process),
            "environment": said.environment,
            "region": said.region,
            "namespace": said.namespace,
            "pod": said.pod or group.pod,
            "container": said.container or group.container,
            "process": file_name(process.exe) or process.comm,
            "unit": group.unit,
        }


def _service(said: Declared, group: Cgroup, program: Program) -> str:
    return said.service or said.workload or said.container or group.unit_name or program.name


def _version(said: Declared, program: Program, process: Process) -> str:
    return said.version or said.image_tag or program.version or process.exe_build_id[:BUILD_ID_DIGITS]


def _kernel_labels(process: Process) -> dict[str, str]:
    return {"service": kernel_thread.SERVICE, "process": kernel_thread.base_name(process.comm)}


def _without_empty(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if value}
