"""What is wrong with a host, in plain sentences: what, since when, and where it is not plain, what to do."""

from collections.abc import Iterator

from collector.query.host_model import BAD, NOTE, WARNING, HostRow, Problem
from fleetprof.losses import DropReason

SKEW_S = 5.0
COST_SHARE = 0.01
COMPLETE_SHARE = 0.95
QUEUE_WINDOWS = 3
NO_WINDOW_S = 90
"""A host whose agent beats but sends no windows for this long has a problem."""

COST_SECONDS = 300
"""Over less the agent's start, when it reads symbols, weighs too much."""
LOSS_SHARE = 0.01
"""Of the captured samples; some losses of single samples are usual everywhere."""

_OF_SAMPLES = frozenset(
    {
        *range(DropReason.RING_FULL, DropReason.PROCESS_LIMIT + 1),
        *range(DropReason.STACK_BROKEN_OFF, DropReason.RUNTIME_NAMES + 1),
    }
)
"""Reasons that count samples, threads or processes; the others count whole windows and requests."""


def find_problems(row: HostRow, now_s: float, common_version: str) -> tuple[Problem, ...]:
    """All that is wrong with `row`, worst first. `common_version`: of most of the fleet's agents."""
    found = [
        *_reachable(row, now_s),
        *_identity(row),
        *_quality(row),
        *_losses(row),
        *_notes(row, common_version),
    ]
    return tuple(sorted(found, key=lambda problem: -problem.severity))


def _reachable(row: HostRow, now_s: float) -> Iterator[Problem]:
    if row.agent.refused_because:
        yield Problem(BAD, f"The collector refuses its agent: {row.agent.refused_because}")
    if row.silent:
        since = ago(now_s - row.last_seen_s)
        yield Problem(BAD, f"Silent for {since}: neither a heartbeat nor a window came.")
    elif row.agent.seen_at_s and now_s - row.reported.last_window_s > NO_WINDOW_S + 10:
        if row.reported.last_window_s:
            since = ago(now_s - row.reported.last_window_s)
            yield Problem(BAD, f"Its agent answers, but no window came for {since}; its log says why.")
        elif now_s - row.agent.started_at_s > NO_WINDOW_S:
            yield Problem(BAD, "Its agent answers, but no window ever came; its log says why.")
    if not row.silent and row.agent.queue_windows >= QUEUE_WINDOWS:
        count = row.agent.queue_windows
        yield Problem(WARNING, f"{count} windows wait on the host: the collector is slow or was away.")


def _identity(row: HostRow) -> Iterator[Problem]:
    if row.reported.same_agent_as:
        others = ", ".join(row.reported.same_agent_as[:3])
        yield Problem(
            WARNING,
            f"It has the same agent id as {others}, as copies of one disk image have: delete agent-id in the "
            "state folder and give each a machine id of its own, then restart the agent.",
        )
    if len(row.reported.agent_ids) > 1:
        count = len(row.reported.agent_ids)
        yield Problem(
            WARNING, f"{count} agents report under this host's name: give each a name of its own (host)."
        )
    if abs(row.agent.clock_skew_s) > SKEW_S and not row.silent:
        side = "ahead of" if row.agent.clock_skew_s > 0 else "behind"
        yield Problem(
            WARNING,
            f"Its clock is {duration(abs(row.agent.clock_skew_s))} {side} the collector's: its windows are "
            "stored at the wrong time. Synchronise it (NTP).",
        )


def _quality(row: HostRow) -> Iterator[Problem]:
    known = [cell for cell in row.reported.completeness if cell is not None]
    if known and (mean := sum(known) / len(known)) < COMPLETE_SHARE and not row.silent:
        yield Problem(WARNING, f"{100 * (1 - mean):.1f} % of the last {len(known)} h did not arrive.")
    cost_share = row.reported.cost_share or 0.0
    if cost_share > COST_SHARE and row.reported.covered_s >= COST_SECONDS:
        yield Problem(WARNING, f"Profiling takes {100 * cost_share:.2f} % of its CPU time, more than 1 %.")
    for hook in row.agent.hooks_off:
        if hook.is_program:
            yield Problem(WARNING, f"{hook.name} is off: {hook.reason.rstrip('.')}.")


def _losses(row: HostRow) -> Iterator[Problem]:
    for label, count in row.losses.items():
        reason = DropReason[label.upper()] if label.upper() in DropReason.__members__ else None
        if reason not in _OF_SAMPLES or count > LOSS_SHARE * row.captures:
            text = (
                reason.explanation
                if reason
                else f"Lost for a reason that this version does not know: {label}."
            )
            yield Problem(WARNING, f"{_grouped(count)} × {text[0].lower()}{text[1:]}")


def _notes(row: HostRow, common_version: str) -> Iterator[Problem]:
    if common_version and row.agent.version and row.agent.version != common_version:
        yield Problem(NOTE, f"Its agent is {row.agent.version}; most of the fleet has {common_version}.")
    if not row.agent.agent_id and not row.silent:
        yield Problem(NOTE, "Its agent never registered: it is older than this collector, or not an agent.")
    if row.reported.covered_s and not row.reported.exact:
        yield Problem(NOTE, "CPU times are estimated from samples: exact ones need the scheduler program.")


def ago(seconds: float) -> str:
    """A duration in its largest unit, such as "12 min"."""
    for unit, size_s in (("days", 86400 * 2), ("h", 7200), ("min", 120)):
        if seconds >= size_s:
            return f"{int(seconds // {'days': 86400, 'h': 3600, 'min': 60}[unit])} {unit}"
    return f"{int(seconds)} s"


def duration(seconds: float) -> str:
    """As `ago`, with tenths below a minute."""
    return f"{seconds:.1f} s" if seconds < 60 else ago(seconds)


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")
