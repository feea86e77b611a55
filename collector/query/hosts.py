"""The hosts of a fleet, from what agents say of themselves and from what they send."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from collector.query.asking import Asking
from collector.query.host_model import CELLS, Agent, HookOff, HostRow, Reported, ServiceUse
from collector.query.host_problems import find_problems
from collector.query.model import Query, TimeRange
from collector.query.segments import total_segments
from collector.query.sources import (
    VOUCHED,
    Binds,
    series_sql,
    time_condition,
    union_sql,
)
from collector.store.interface import Columns
from fleetprof.profile_types import WINDOW_NS, ProfileType, Selection
from fleetprof.protocol import SILENT_AFTER_S

HOUR_S = 3600
WINDOW_S = WINDOW_NS // 10**9
IN_FLIGHT_S = 3 * WINDOW_S
"""The newest windows are not missed before this time: they close, travel, wait for their batch."""
NEWEST_S = 900
"""The newest windows, which say what a host is now."""
USED_S = HOUR_S
"""Services, cores and utilisation are of so much of the range at most, its end: what runs there now. A day of
1,000 hosts is 60 million rows of series_1m, an hour 2 million."""
KNOWN_S = 7 * 86400
"""Hosts that were silent for longer were taken away and are not shown."""

_CPU_AND_IDLE = Selection("cpu and idle", "CPU time with idle time", (ProfileType.CPU, ProfileType.IDLE))


def load_hosts(asking: Asking, range: TimeRange, now_s: float | None = None) -> list[HostRow]:
    """All hosts that reported in the range or the day before its end, or are registered; the worst first.

    Silence is judged by the clock of `now_s`, everything else by the range; see USED_S for services.
    """
    now = time.time() if now_s is None else now_s
    used = TimeRange(max(range.start_s, range.end_s - USED_S), range.end_s)
    agents = _load_agents(asking, now)
    reported = _load_reported(asking, range, used, now)
    uses = _load_uses(asking, used)
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
            services=_services(use.services, report.used_s),
            utilisation=use.utilisation(report.used_s * report.cpus),
            captures=round(use.captures * report.covered_s / report.used_s) if report.used_s else 0,
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


def _load_reported(asking: Asking, range: TimeRange, used: TimeRange, now_s: float) -> dict[str, Reported]:
    """Host → what its windows of the range and of the day before the range's end say."""
    last_hour_s = (range.end_s - 1) // HOUR_S * HOUR_S
    first_hour_s = last_hour_s - (CELLS - 1) * HOUR_S
    hours = _load_hours(asking, TimeRange(min(first_hour_s, range.start_s), last_hour_s + HOUR_S))
    sums, newest = _load_sums(asking, range, used), _load_newest(asking, range.end_s)
    hosts_of: dict[str, set[str]] = defaultdict(set)
    for host, row in newest.items():
        for agent_id in row["agents"]:
            hosts_of[str(agent_id)].add(host)
    until_s = min(now_s - IN_FLIGHT_S, range.end_s)
    found = {}
    for host, of_host in hours.items():
        report = Reported(
            last_window_s=max(hour.last_s for hour in of_host.values()) + WINDOW_S,
            completeness=_cells(of_host, first_hour_s, until_s),
        )
        report = _with_sums(report, sums[host]) if host in sums else report
        found[host] = _with_newest(report, host, newest[host], hosts_of) if host in newest else report
    return found


@dataclass(frozen=True, slots=True)
class _Hour:
    """A host's windows of one hour: seconds covered, and starts of the first and the last."""

    covered_s: float
    first_s: int
    last_s: int


def _load_hours(asking: Asking, range: TimeRange) -> dict[str, dict[int, _Hour]]:
    """Host → start of the hour → its windows."""
    binds = Binds()
    found = asking.ask(
        "SELECT host, toUInt32(toStartOfHour(ts)) AS hour_s, sum(covered_ns) AS covered, "
        "toUInt32(min(ts)) AS first_s, toUInt32(max(ts)) AS last_s FROM windows "
        f"WHERE {time_condition(range, binds)} AND {VOUCHED} GROUP BY host, hour_s",
        binds,
    )
    hours: dict[str, dict[int, _Hour]] = defaultdict(dict)
    names = ("host", "hour_s", "covered", "first_s", "last_s")
    for host, hour_s, covered, first_s, last_s in zip(*(found[name] for name in names), strict=True):
        hours[str(host)][int(hour_s)] = _Hour(int(covered) / 1e9, int(first_s), int(last_s))
    return hours


def _load_sums(asking: Asking, range: TimeRange, used: TimeRange) -> dict[str, dict[str, Any]]:
    """Host → what its windows of the range add up to."""
    binds = Binds()
    found = asking.ask(
        "SELECT host, sum(covered_ns) AS asked, sum(covered_ns * cpu_count) AS cpu_time, "
        "sum(agent_cpu_ns + agent_bpf_ns) AS cost, min(cpu_exact) AS exact, "
        f"sumIf(covered_ns, {time_condition(used, binds)}) AS used FROM windows "
        f"WHERE {time_condition(range, binds)} AND {VOUCHED} GROUP BY host",
        binds,
    )
    return _by_host(found)


def _load_newest(asking: Asking, end_s: int) -> dict[str, dict[str, Any]]:
    """Host → what the newest of its last windows say."""
    binds = Binds()
    found = asking.ask(
        "SELECT host, argMax(cpu_count, ts) AS cpus, argMax(agent_rss_bytes, ts) AS rss, "
        "argMax(agent_map_bytes, ts) AS maps, groupUniqArray(agent_id) AS agents FROM windows "
        f"WHERE {time_condition(TimeRange(end_s - NEWEST_S, end_s), binds)} AND {VOUCHED} GROUP BY host",
        binds,
    )
    return _by_host(found)


def _by_host(found: Columns) -> dict[str, dict[str, Any]]:
    rows = zip(*found.values(), strict=True)
    return {str(row["host"]): row for row in (dict(zip(found, values, strict=True)) for values in rows)}


def _with_sums(report: Reported, row: Mapping[str, Any]) -> Reported:
    cpu_time = int(row["cpu_time"])
    return replace(
        report,
        covered_s=int(row["asked"]) / 1e9,
        used_s=int(row["used"]) / 1e9,
        cost_share=int(row["cost"]) / cpu_time if cpu_time else None,
        exact=bool(row["exact"]),
    )


def _with_newest(
    report: Reported, host: str, row: Mapping[str, Any], hosts_of: Mapping[str, set[str]]
) -> Reported:
    agent_ids = tuple(sorted(map(str, row["agents"])))
    others = {other for agent_id in agent_ids for other in hosts_of[agent_id]} - {host}
    return replace(
        report,
        cpus=int(row["cpus"]),
        rss_bytes=int(row["rss"]),
        map_bytes=int(row["maps"]),
        agent_ids=agent_ids,
        same_agent_as=tuple(sorted(others)),
    )


def _cells(hours: Mapping[int, _Hour], first_hour_s: int, until_s: float) -> tuple[float | None, ...]:
    """The share of each hour that arrived. A host is expected from its first window on, until `until_s`.

    Its very first window may have begun late: it is not expected.
    """
    since_s = min(hour.first_s for hour in hours.values()) + WINDOW_S
    cells: list[float | None] = []
    for hour_s in range(first_hour_s, first_hour_s + CELLS * HOUR_S, HOUR_S):
        expected_s = min(hour_s + HOUR_S, until_s) - max(hour_s, since_s)
        covered_s = hours[hour_s].covered_s if hour_s in hours else 0.0
        cells.append(min(covered_s / expected_s, 1.0) if expected_s >= WINDOW_S else None)
    return tuple(cells)


@dataclass(slots=True)
class _Uses:
    """What series_1m says of one host; nanoseconds."""

    services: dict[tuple[str, str], int] = field(default_factory=dict)
    """(service, version) → CPU time."""
    idle: int = 0
    captures: int = 0

    def utilisation(self, cpu_s: float) -> float | None:
        """0..1 of what the CPUs could have run; None without data.

        `cpu_s`: CPU seconds that the windows cover. They count where no CPU was ever idle.
        """
        busy = sum(self.services.values())
        whole = busy + self.idle if self.idle else cpu_s * 1e9
        return min(busy / whole, 1.0) if whole else None


def _load_uses(asking: Asking, range: TimeRange) -> dict[str, _Uses]:
    """Host → what runs there."""
    query = Query(_CPU_AND_IDLE, (), range)
    binds = Binds()
    sums = union_sql(query, total_segments(asking, query), ("series", "type"), binds)
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
