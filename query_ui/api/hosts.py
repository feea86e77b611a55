"""Answers about the hosts of a fleet, and their schema."""

from dataclasses import asdict

from collector.query.host_model import SEVERITY_NAMES, HostRow
from collector.query.model import Json, TimeRange
from fleetprof.losses import DropReason
from query_ui.api import schemas
from query_ui.api.profiles import range_json
from query_ui.api.schemas import BOOLEAN, INTEGER, NUMBER, TEXT, described, many, record

_MAYBE: schemas.Schema = {"type": "number", "nullable": True}

HOSTS = record(
    "The hosts of the fleet, those with the worst problems first.",
    range=schemas.RANGE,
    reporting=described(INTEGER, "Hosts that were heard within 90 s."),
    silent=INTEGER,
    hosts=many(
        record(
            "A host and its agent. What an agent that never registered did not tell is empty or 0.",
            host=TEXT,
            silent=described(BOOLEAN, "Neither a heartbeat nor a window for 90 s."),
            last_seen_s=described(INTEGER, "When it was heard last, Unix seconds."),
            problems=many(
                record(
                    "What is wrong, worst first.",
                    severity={"type": "string", "enum": list(SEVERITY_NAMES.values())},
                    text=TEXT,
                )
            ),
            agent_version=TEXT,
            backend=described(TEXT, "core, bcc or perf."),
            kernel=TEXT,
            architecture=TEXT,
            cpus=INTEGER,
            memory_bytes=INTEGER,
            started_s=described(INTEGER, "When the agent started, Unix seconds."),
            hooks_off=many(
                record(
                    "A program of the agent that is off, or a hook that the kernel does not offer.",
                    name=TEXT,
                    reason=TEXT,
                    is_program=described(BOOLEAN, "True where data is missing because of it."),
                )
            ),
            clock_skew_s=described(NUMBER, "The host's clock minus the collector's."),
            queue_windows=described(INTEGER, "Windows that waited on the host at its last heartbeat."),
            utilisation=described(
                _MAYBE, "0..1: CPU time in use of all, in the range's last hour; null: no data."
            ),
            cores=described(NUMBER, "CPUs in use on average in the range's last hour."),
            services=many(
                record(
                    "A service in one version, the busiest first.", service=TEXT, version=TEXT, cores=NUMBER
                )
            ),
            cost=record(
                "What profiling this host costs.",
                share=described(_MAYBE, "0..1 of the host's CPU time; null: no data."),
                bpf_measured=described(
                    BOOLEAN,
                    "False: the kernel does not let the agent measure its BPF programs; share lacks them.",
                ),
                rss_bytes=INTEGER,
                map_bytes=described(INTEGER, "Kernel memory of BPF maps."),
            ),
            completeness=many(
                _MAYBE,
                "By hour, the last one holding the range's end: 0..1 that arrived; null: not expected.",
            ),
            losses=many(record("In the range.", reason=TEXT, count=INTEGER, explanation=TEXT)),
        )
    ),
)


def hosts_json(rows: list[HostRow], range: TimeRange) -> Json:
    """The answer, in the order of `rows`."""
    silent = sum(row.silent for row in rows)
    return {
        "range": range_json(range),
        "reporting": len(rows) - silent,
        "silent": silent,
        "hosts": [_host(row) for row in rows],
    }


def _host(row: HostRow) -> Json:
    agent, reported = row.agent, row.reported
    return {
        "host": row.host,
        "silent": row.silent,
        "last_seen_s": row.last_seen_s,
        "problems": [
            {"severity": SEVERITY_NAMES[problem.severity], "text": problem.text} for problem in row.problems
        ],
        "agent_version": agent.version,
        "backend": agent.backend,
        "kernel": agent.kernel,
        "architecture": agent.architecture,
        "cpus": row.cpus,
        "memory_bytes": agent.memory_bytes,
        "started_s": agent.started_at_s,
        "hooks_off": [asdict(hook) for hook in agent.hooks_off],
        "clock_skew_s": agent.clock_skew_s,
        "queue_windows": agent.queue_windows,
        "utilisation": _rounded(row.utilisation),
        "cores": round(row.cores, 6),
        "services": [{**asdict(use), "cores": round(use.cores, 6)} for use in row.services],
        "cost": {
            "share": _rounded(reported.cost_share),
            "bpf_measured": agent.measures_bpf,
            "rss_bytes": reported.rss_bytes or agent.rss_bytes,
            "map_bytes": reported.map_bytes or agent.map_bytes,
        },
        "completeness": [_rounded(cell) for cell in reported.completeness],
        "losses": [
            {"reason": label, "count": count, "explanation": _explain(label)}
            for label, count in row.losses.items()
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _explain(label: str) -> str:
    known = DropReason.__members__.get(label.upper())
    return known.explanation if known else f"Lost for a reason that this version does not know: {label}."
