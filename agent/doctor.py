"""`fleetprof-agent doctor`: what this host offers, which backends work and why others do not, and whether the
collector answers. Works without privileges, and then says what root would change."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import grpc

from agent.backends.interface import Probe
from agent.backends.probe import probe_all
from agent.config import AgentConfig
from agent.connection import Connection
from agent.debug_offers.facts import debug_files
from agent.host_facts import PRIVILEGES, Fact, gather
from agent.jvm.facts import java_names
from agent.tls import explain
from agent.unwind.facts import unwinding
from fleetprof import __version__
from fleetprof.errors import InputError
from fleetprof.setting_kinds import Address
from fleetprof.tls import TlsFiles

CONNECT_TIMEOUT_S = 2.0

_INDENT = " " * 25


@dataclass(frozen=True, slots=True)
class Report:
    """All that doctor found. `backends` are in the order in which "auto" tries them."""

    host: str
    facts: tuple[Fact, ...]
    backends: tuple[Probe, ...]
    collector: Fact
    configured: str
    """The backend that the configuration asks for, "auto" for the first that works."""

    @property
    def chosen(self) -> str:
        """The backend that `run` would take, "" when none works."""
        usable = [probe.backend for probe in self.backends if not probe.why_not]
        wanted = usable if self.configured == "auto" else [name for name in usable if name == self.configured]
        return wanted[0] if wanted else ""

    @property
    def works(self) -> bool:
        """Whether the agent could sample this host as it is configured."""
        return bool(self.chosen)

    def as_json(self) -> dict[str, Any]:
        """The report as plain values, for `--json`."""
        return {"version": __version__, "works": self.works, "chosen": self.chosen, **asdict(self)}


def report(config: AgentConfig) -> Report:
    """Look at this host; takes up to a few seconds, since backends are tried for real."""
    return Report(
        host=config.host or socket.gethostname(),
        facts=(
            *gather(),
            unwinding(config.unwind, config.state_dir / "unwind"),
            java_names(config.java_names),
            debug_files(config),
        ),
        backends=tuple(probe_all()),
        collector=collector_fact(config.collector, files=config.tls(), server_name=config.tls_server_name),
        configured=config.backend,
    )


def collector_fact(
    address: Address,
    timeout_s: float = CONNECT_TIMEOUT_S,
    files: TlsFiles | None = None,
    server_name: str = "",
) -> Fact:
    """Whether a gRPC server answers at `address`, over TLS where `files` say so; if not, why."""
    try:
        socket.create_connection(address, timeout_s).close()
    except OSError as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        advice = "Start one there (fleetprof up, or fleetprof-collector), or set --collector HOST:PORT."
        return Fact(str(address), why, False, advice)
    tls = files or TlsFiles()
    try:
        connection = Connection(address, tls, server_name)
    except InputError as error:
        return Fact(str(address), error.message.rstrip("."), False, error.hint)
    try:
        grpc.channel_ready_future(connection.channel).result(timeout_s)
    except grpc.FutureTimeoutError:
        return _unanswered(address, explain(address, tls, server_name, timeout_s))
    finally:
        connection.close()
    return Fact(str(address), "answers over TLS" if tls.on else "answers")


def _unanswered(address: Address, why: str) -> Fact:
    if why:
        return Fact(str(address), "is there, but the connection fails", False, why)
    advice = "Another service listens there: check the port of --collector."
    return Fact(str(address), "does not speak gRPC", False, advice)


def render(found: Report) -> str:
    """The report for people: one line each, marked ok or off, with what to do below."""
    return "\n".join(
        [
            f"fleetprof-agent {__version__} on {found.host}",
            "\nHost",
            *_fact_lines(found.facts),
            "\nBackends",
            *_backend_lines(found),
            "\nCollector",
            *_fact_lines([found.collector]),
            "\n" + _verdict(found),
        ]
    )


def _fact_lines(facts: Sequence[Fact]) -> Iterator[str]:
    for fact in facts:
        yield f"  {'ok ' if fact.ok else 'off'}  {fact.name:<17} {fact.found}"
        if fact.advice:
            yield f"{_INDENT}→ {fact.advice}"


def _backend_lines(found: Report) -> Iterator[str]:
    for probe in found.backends:
        why = probe.why_not or ("works, and is used" if probe.backend == found.chosen else "works")
        yield f"  {'off' if probe.why_not else 'ok '}  {probe.backend:<17} {why}"
        for hook, state in probe.hooks.items():
            yield f"{_INDENT}{'ok ' if state == 'ok' else 'off'}  {hook}" + (
                "" if state == "ok" else f": {state}"
            )


def _verdict(found: Report) -> str:
    if found.works:
        return f"The agent can sample this host with backend {found.chosen}."
    if any(fact.name == PRIVILEGES and not fact.ok for fact in found.facts):
        return "Nothing can be sampled without privileges; root would change that (see above)."
    if found.configured != "auto":
        return f"The configured backend {found.configured} does not work here; set backend = auto."
    return "No backend works here; the lines marked off say why."
