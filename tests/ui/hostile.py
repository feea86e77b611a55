"""A store in which every name is hostile: services, hosts, versions, functions and files are markup, code, SQL or
control characters, as they are after ingest. What of it runs in a page sets `window.fleetprofPwned`."""

from pathlib import Path

import numpy as np

from collector.agents.blocks import agents_block
from collector.agents.state import AgentState, Beat, HookState, Registration
from collector.alerts.service import AlertService
from collector.ingest.definitions import shown
from collector.store.interface import Store
from fleetprof.frames import Frame, FrameKind
from tests.store.generate import WINDOW_S, Fleet, Rows, insert
from tests.ui.shop import NOW_S

WINDOWS = 60
START_S = NOW_S - WINDOWS * WINDOW_S
_SENT = (
    "<script>fleetprofPwned=1</script>",
    '"><img src=x onerror=fleetprofPwned=1>',
    "</title></script><svg onload=fleetprofPwned=1>",
    "javascript:fleetprofPwned=1",
    "'; DROP TABLE samples; --",
    "${fleetprofPwned=1}{{fleetprofPwned=1}}",
    "nul\0line\nbell\7",
    "\u202eright to left\u202c",
    "\U0001f525 e\u0301",
    "__proto__",
    "constructor",
    "&lt;b&gt; &amp; %3Cscript%3E",
    "a;b;c" + "x" * 900,
)
NAMES = tuple(map(shown, _SENT))
"""As the collector keeps them."""
VERSIONS = (NAMES[0], NAMES[1])
"""Of every service: the second one since the middle."""
RULES = f"""
[[rule]]
name = '{NAMES[0]}'
kind = "threshold"
scope = '{{process="<any>"}}'
metric = "cores"
above = 0.001
window = "2m"
for = "0s"
labels = {{team = '{NAMES[1]}'}}
"""


def make() -> Rows:
    """Each name is a service on a host of the same name, whose only function, file and mapping have it, too."""
    frames = [Frame(FrameKind.PYTHON, name, name[:200], "", 0, name, 7) for name in NAMES]
    stacks: list[tuple[int, ...]] = [
        (),
        *((number, (number + 1) % len(NAMES)) for number in range(len(NAMES))),
    ]
    labels, rows = [], []
    for number, name in enumerate(NAMES):
        for half, version in enumerate(VERSIONS):
            texts = {"service": name, "host": name, "version": version, "thread": name, "team": name}
            labels.append({**texts, "process": "<any>"})
            for window in range(half * WINDOWS // 2, (half + 1) * WINDOWS // 2):
                captures = 40 + 3 * number + 20 * half
                rows.append((START_S + window * WINDOW_S, len(labels) - 1, 0, number + 1, captures))
    ts, series, kind, stack, captures_of = np.array(rows, np.int64).T
    counts = captures_of.astype(np.uint64)
    fleet = Fleet(START_S, WINDOWS, NAMES, hosts=len(NAMES))
    reported = [(name, START_S + window * WINDOW_S) for name in NAMES for window in range(WINDOWS)]
    return Rows(
        fleet, labels, frames, stacks, ts, series, kind, stack, counts * 10_101_010, counts, reported=reported
    )  # fmt: skip


def fill(store: Store) -> None:
    """Write them into a migrated store."""
    insert(store, make())
    agents = []
    for number, name in enumerate(NAMES):
        registration = Registration(
            agent_id=f"agent-{number}",
            run_id=1,
            host=name,
            protocol_version=1,
            registered_at_s=START_S,
            agent_version=name[:60],
            kernel=name[:60],
            architecture=name[:60],
            cpu_count=4,
            memory_bytes=16 << 30,
            backend=name[:60],
            hooks=(HookState(name, name, False),),
            started_at_s=START_S,
        )
        agents.append(AgentState(registration, Beat(received_at_s=NOW_S - 3, clock_skew_ms=90_000 * number)))
    store.insert("agents", agents_block(agents), "agents")


def judge(folder: Path, store: Store) -> AlertService:
    """An alert for each service."""
    rules = folder / "rules.toml"
    rules.write_text(RULES)
    now = [NOW_S - 300]
    alerts = AlertService(folder, rules, store, 60.0, 30 * 86400.0, clock=lambda: float(now[0]))
    for now[0] in range(NOW_S - 120, NOW_S + 1, 60):
        alerts.evaluate(now[0])
    return alerts
