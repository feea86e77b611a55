"""The hosts of a fleet, from what agents say of themselves and from what they send."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from collector.query.asking import Asking
from collector.query.host_model import CELLS, Agent, HookOff, HostRow, Reported, ServiceUse
from collector.query.host_problems import find_problems
from collector.query.model import Query, TimeRange
from collector.query.sources import MINUTE_S, Binds, series_sql, split_range, time_condition, union_sql
from fleetprof.profile_types import WINDOW_NS, ProfileType, Selection
from fleetprof.protocol import SILENT_AFTER_S

HOUR_S = 3600
WINDOW_S = WINDOW_NS // 10**9
IN_FLIGHT_S = 3 * WINDOW_S
"""The newest windows are not missed before this time: they close, travel, wait for their batch."""
KNOWN_S = 7 * 86400
"""Hosts that were silent for longer were taken away and are not shown."""

_CPU_AND_IDLE = Selection("cpu and idle", "CPU time with idle time", (ProfileType.CPU, ProfileType.IDLE))


def load_hosts(asking: Asking, range: TimeRange, now_s: float | None = None) -> list[HostRow]:
    """All hosts that reported in the range or the day before its end, or are registered; the worst first.

    Silence is judged by the clock of `now_s`, everything else by the range.
    """
    now = time.time() if now_s is None else now_s
    agents = _load_agents(asking, now)
    reported = _load_reported(asking, range, now)
    uses = _load_uses(asking, range)
    losses = _load_losses(asking, range)
    common = _most_common_version(agents)
    rows = []
    for host in sorted(agents.keys() | reported.keys()):
        agent, report = agents.get(host, Agent()), reported.get(host, Reported())
        use = uses.get(host, _Uses())
        last_seen_s = max(agent.seen_at_s, report.last_window_s)
        row = HostRow(
            host=host,
            agent=agent,
            reported=report,
            services=_services(use.services, report.covered_s),
            utilisation=use.utilisation,
            captures=use.captures,
            losses=losses.get(host, {}),
            last_seen_s=last_seen_s,
            silent=now - last_seen_s > SILENT_AFTER_S,
        )
        rows.append(replace(row, problems=find_problems(row, now, common)))
    return sorted(rows, key=lambda row: (-max((p.severity for p in row.problems), default=0), row.host))


def _load_agents(asking: Asking, now_s: float) -> dict[str, Agent]:
    """Host → its agent; of several with one name, the one heard last."""
    columns = (
        "agent_id, host, status, message, agent_version, kernel, architecture, cpu_count, memory_bytes, "
        "backend, hook_names, hook_states, hook_is_program, toUInt32(started_at) AS started_s, "
        "toUInt32(seen_at) AS seen_s, clock_skew_ms, queue_windows, rss_bytes, map_bytes"
    )
    binds = Binds()
    since = binds.add(int(max(now_s - KNOWN_S, 0)))
    found = asking.ask(
        f"SELECT {columns} FROM agents FINAL WHERE seen_at >= toDateTime({since}) ORDER BY seen_at", binds
    )
    names = list(found)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*found.values(), strict=True)]
    return {str(row["host"]): _agent(row) for row in rows}


def _agent(row: Mapping[str, Any]) -> Agent:
    hooks = zip(row["hook_names"], row["hook_states"], row["hook_is_program"], strict=True)
    return Agent(
        agent_id=str(row["agent_id"]),
        refused_because=str(row["message"]) if row["status"] == "refused" else "",
        version=str(row["agent_version"]),
        kernel=str(row["kernel"]),
        architecture=str(row["architecture"]),
        cpus=int(row["cpu_count"]),
        memory_bytes=int(row["memory_bytes"]),
        backend=str(row["backend"]),
        hooks_off=tuple(
            HookOff(str(name), str(state), bool(program)) for name, state, program in hooks if state
        ),
        started_at_s=int(row["started_s"]),
        seen_at_s=int(row["seen_s"]),
        clock_skew_s=int(row["clock_skew_ms"]) / 1000,
        queue_windows=int(row["queue_windows"]),
        rss_bytes=int(row["rss_bytes"]),
        map_bytes=int(row["map_bytes"]),
    )


def _load_reported(asking: Asking, range: TimeRange, now_s: float) -> dict[str, Reported]:
    """Host → what its windows of the range and of the day before the range's end say."""
    last_hour_s = (range.end_s - 1) // HOUR_S * HOUR_S
    first_hour_s = last_hour_s - (CELLS - 1) * HOUR_S
    binds = Binds()
    start, end = binds.add(range.start_s), binds.add(range.end_s)
    inside = f"ts >= toDateTime({start}) AND ts < toDateTime({end})"
    reach = TimeRange(min(first_hour_s, range.start_s), last_hour_s + HOUR_S)
    found = asking.ask(
        "SELECT host, toUInt32(toStartOfHour(ts)) AS hour_s, sum(covered_ns) AS covered, "
        "toUInt32(min(ts)) AS first_s, argMin(covered_ns, ts) AS first_covered, toUInt32(max(ts)) AS last_s, "
        f"sumIf(covered_ns, {inside}) AS asked, sumIf(covered_ns * cpu_count, {inside}) AS cpu_time, "
        f"sumIf(agent_cpu_ns + agent_bpf_ns, {inside}) AS cost, minIf(cpu_exact, {inside}) AS exact, "
        f"countIf({inside}) AS windows, argMax(cpu_count, ts) AS cpus, argMax(agent_rss_bytes, ts) AS rss, "
        "argMax(agent_map_bytes, ts) AS maps, groupUniqArray(agent_id) AS agents FROM windows "
        f"WHERE {time_condition(reach, binds)} GROUP BY host, hour_s ORDER BY host, hour_s",
        binds,
    )
    by_host: dict[str, list[dict[str, Any]]] = defaultdict(list)
    names = list(found)
    for values in zip(*found.values(), strict=True):
        row = dict(zip(names, values, strict=True))
        by_host[str(row["host"])].append(row)
    hosts_of = _hosts_of_agents(by_host)
    return {
        host: _reported(host, hours, first_hour_s, min(now_s - IN_FLIGHT_S, range.end_s), hosts_of)
        for host, hours in by_host.items()
    }


def _hosts_of_agents(by_host: Mapping[str, list[dict[str, Any]]]) -> dict[str, set[str]]:
    """Agent id → hosts that used it in the newest hour of any."""
    newest = max((int(hours[-1]["hour_s"]) for hours in by_host.values()), default=0)
    found: dict[str, set[str]] = defaultdict(set)
    for host, hours in by_host.items():
        if int(hours[-1]["hour_s"]) == newest:
            for agent_id in hours[-1]["agents"]:
                found[str(agent_id)].add(host)
    return found


def _reported(
    host: str,
    hours: list[dict[str, Any]],
    first_hour_s: int,
    until_s: float,
    hosts_of: Mapping[str, set[str]],
) -> Reported:
    last, asked = hours[-1], sum(int(hour["asked"]) for hour in hours)
    cpu_time, cost = sum(int(hour["cpu_time"]) for hour in hours), sum(int(hour["cost"]) for hour in hours)
    agent_ids = tuple(sorted(map(str, last["agents"])))
    others = {other for agent_id in agent_ids for other in hosts_of.get(agent_id, ())} - {host}
    return Reported(
        last_window_s=int(last["last_s"]) + WINDOW_S,
        cpus=int(last["cpus"]),
        covered_s=asked / 1e9,
        cost_share=cost / cpu_time if cpu_time else None,
        rss_bytes=int(last["rss"]),
        map_bytes=int(last["maps"]),
        exact=all(hour["exact"] for hour in hours if hour["windows"]),
        completeness=_cells(hours, first_hour_s, until_s),
        agent_ids=agent_ids,
        same_agent_as=tuple(sorted(others)),
    )


def _cells(hours: list[dict[str, Any]], first_hour_s: int, until_s: float) -> tuple[float | None, ...]:
    """The share of each hour that arrived. A host is expected from its first window on, until `until_s`."""
    first = hours[0]
    since_s = int(first["first_s"]) + WINDOW_S - int(first["first_covered"]) / 1e9
    covered = {int(hour["hour_s"]): int(hour["covered"]) / 1e9 for hour in hours}
    cells: list[float | None] = []
    for hour_s in np.arange(first_hour_s, first_hour_s + CELLS * HOUR_S, HOUR_S).tolist():
        expected_s = min(hour_s + HOUR_S, until_s) - max(hour_s, since_s)
        cells.append(min(covered.get(hour_s, 0.0) / expected_s, 1.0) if expected_s >= WINDOW_S else None)
    return tuple(cells)


@dataclass(slots=True)
class _Uses:
    """What series_1m says of one host; nanoseconds."""

    services: dict[tuple[str, str], int] = field(default_factory=dict)
    """(service, version) → CPU time."""
    idle: int = 0
    captures: int = 0

    @property
    def utilisation(self) -> float | None:
        """0..1, None where idle time is not known."""
        busy = sum(self.services.values())
        return busy / (busy + self.idle) if self.idle else None


def _load_uses(asking: Asking, range: TimeRange) -> dict[str, _Uses]:
    """Host → what runs there."""
    query = Query(_CPU_AND_IDLE, (), range)
    binds = Binds()
    sums = union_sql(query, split_range(range, MINUTE_S, "series_1m"), ("series", "type"), binds)
    labels = (
        "SELECT series, any(host) AS host, any(service) AS service, any(version) AS version "
        f"{series_sql((), range, binds)} GROUP BY series"
    )
    found = asking.ask(
        "SELECT l.host AS host, l.service AS service, l.version AS version, m.type AS type, "
        "sum(m.v) AS value, sum(m.c) AS captures FROM "
        f"(SELECT series, type, sum(v) AS v, sum(c) AS c FROM {sums} AS u GROUP BY series, type) AS m "
        f"GLOBAL INNER JOIN ({labels}) AS l ON m.series = l.series "
        "GROUP BY l.host, l.service, l.version, m.type",
        binds,
    )
    uses: dict[str, _Uses] = defaultdict(_Uses)
    names = ("host", "service", "version", "type", "value", "captures")
    for host, service, version, kind, value, captures in zip(*(found[name] for name in names), strict=True):
        use = uses[str(host)]
        if kind == ProfileType.IDLE.label:
            use.idle += int(value)
        else:
            use.services[str(service), str(version)] = int(value)
            use.captures += int(captures)
    return uses


def _services(uses: Mapping[tuple[str, str], int], covered_s: float) -> tuple[ServiceUse, ...]:
    if not covered_s:
        return ()
    found = [
        ServiceUse(service, version, value / 1e9 / covered_s) for (service, version), value in uses.items()
    ]
    return tuple(sorted(found, key=lambda use: (-use.cores, use.service, use.version)))


def _load_losses(asking: Asking, range: TimeRange) -> dict[str, dict[str, int]]:
    binds = Binds()
    found = asking.ask(
        "SELECT host, reason, sum(count) AS lost FROM losses "
        f"WHERE {time_condition(range, binds)} GROUP BY host, reason ORDER BY host, lost DESC, reason",
        binds,
    )
    losses: dict[str, dict[str, int]] = defaultdict(dict)
    for host, reason, lost in zip(found["host"], found["reason"], found["lost"], strict=True):
        if lost:
            losses[str(host)][str(reason)] = int(lost)
    return losses


def _most_common_version(agents: Mapping[str, Agent]) -> str:
    """The agent version of more than half of all hosts; "" when there is none."""
    versions = [agent.version for agent in agents.values() if agent.version]
    common = max(set(versions), key=versions.count, default="")
    return common if versions.count(common) * 2 > len(versions) else ""
