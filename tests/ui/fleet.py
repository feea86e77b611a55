"""An invented fleet in the middle of a rollout: half of its hosts run a checkout with one slower function.

Forty minutes until NOW_S. For twenty-five of them hosts of even number run 2.31.0, in which
`encoder_listencode_obj` takes 60 % more CPU, `re.match` is gone and `fast_match` is new. Two more hosts have
something wrong with them: one fell silent, one has a clock that is ahead.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from collector.agents.blocks import agents_block
from collector.agents.state import AgentState, Beat, HookState, Registration
from collector.alerts.service import AlertService
from collector.store.interface import Store
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from tests.store.generate import WINDOW_S, Fleet, Rows, insert, insert_losses
from tests.ui.shop import NOW_S, read_stacks

WINDOWS = 240
START_S = NOW_S - WINDOWS * WINDOW_S
RELEASE_S = NOW_S - 1500
HOSTS = tuple(f"shop-{number:02}" for number in range(1, 25))
SILENT, SKEWED = "edge-1", "edge-2"
OLD, NEW = "2.30.4", "2.31.0"
SLOWER, GONE, BORN = "encoder_listencode_obj", "re.match", "fast_match"
FACTOR = 1.6
_CAPTURES = 220
"""Samples that a host takes of checkout in a window."""
RULES = """
[[rule]]
name = "slower release"
kind = "release"
scope = '{service="checkout"}'
looks = ["20m"]
labels = {team = "cart"}

[[rule]]
name = "busy gateway"
kind = "threshold"
scope = '{service="gateway"}'
metric = "cores"
above = 0.2
window = "5m"
for = "10m"

[[rule]]
name = "busy checkout"
kind = "threshold"
scope = '{service="checkout"}'
metric = "cores"
above = 4
window = "5m"
for = "10m"
"""


def make_fleet() -> Rows:
    """The fleet's rows; always the same."""
    random = np.random.default_rng(11)
    frames: dict[Frame, int] = {}
    stacks: dict[tuple[int, ...], int] = {(): 0}
    by_service: dict[str, list[tuple[int, float, str]]] = {}
    for service, weight, outermost_first in read_stacks():
        if service not in ("checkout", "gateway"):
            continue
        for cut in range(len(outermost_first), max(len(outermost_first) - 4, 0), -1):
            share = weight * (1.0 if cut == len(outermost_first) else 0.12)
            chosen = outermost_first[:cut]
            for names, part in _variants(chosen):
                place = tuple(frames.setdefault(frame, len(frames)) for frame in reversed(names))
                number = stacks.setdefault(place, len(stacks))
                by_service.setdefault(service, []).append((number, share, part))
    labels, reported, columns = _draw(random, by_service, list(frames), list(stacks))
    fleet = Fleet(START_S, WINDOWS, ("checkout", "gateway"), hosts=len(HOSTS))
    return Rows(fleet, labels, list(frames), list(stacks), *columns, reported=reported)


def _variants(names: list[Frame]) -> list[tuple[list[Frame], str]]:
    """The stack as it is in both versions, or one for each where the release renamed a function."""
    if all(frame.function != GONE for frame in names):
        return [(names, "both")]
    born = Frame(FrameKind.PYTHON, BORN, "/app", "", 0, "fast.py", 7)
    renamed = [born if frame.function == GONE else frame for frame in names]
    return [(names, OLD), (renamed, NEW)]


def _draw(
    random: np.random.Generator,
    by_service: dict[str, list[tuple[int, float, str]]],
    frames: list[Frame],
    stacks: list[tuple[int, ...]],
) -> tuple[list[dict[str, str]], list[tuple[str, int]], list[npt.NDArray[np.int64]]]:
    labels: list[dict[str, str]] = []
    parts: list[npt.NDArray[np.int64]] = []
    reported = [(host, START_S + window * WINDOW_S) for host in HOSTS for window in range(WINDOWS)]
    moved = (RELEASE_S - START_S) // WINDOW_S
    spells = [(host, "checkout", OLD, 0, moved) for host in HOSTS]
    spells += [(host, "checkout", NEW if n % 2 else OLD, moved, WINDOWS) for n, host in enumerate(HOSTS)]
    spells += [(host, "gateway", "1.8.2", 0, WINDOWS) for host in HOSTS[:6]]
    spells += [(SILENT, "gateway", "1.8.2", 0, WINDOWS - 70), (SKEWED, "gateway", "1.8.2", 60, WINDOWS)]
    reported += [(SILENT, START_S + window * WINDOW_S) for window in range(WINDOWS - 70)]
    reported += [(SKEWED, START_S + window * WINDOW_S) for window in range(60, WINDOWS) if window % 20]
    for host, service, version, first, end in spells:
        label = {"host": host, "service": service, "version": version, "process": service}
        if label not in labels:
            labels.append(label)
        windows = np.array([w for w in range(first, end) if host != SKEWED or w % 20])
        parts += _spell(
            random, by_service[service], frames, stacks, version, labels.index(label), windows, service
        )
    ts, series, stack, count = np.concatenate(parts, axis=1)
    values = [count * 10_101_010, count]
    return labels, reported, [ts, series, np.zeros_like(ts), stack, *(v.astype(np.uint64) for v in values)]


def _spell(
    random: np.random.Generator,
    known: list[tuple[int, float, str]],
    frames: list[Frame],
    stacks: list[tuple[int, ...]],
    version: str,
    series: int,
    windows: npt.NDArray[np.int64],
    service: str,
) -> list[npt.NDArray[np.int64]]:
    """Rows of one version on one host: every host does its work in slightly other proportions."""
    whole = sum(share for _, share, part in known if part != NEW)
    size = (_CAPTURES if service == "checkout" else 40) * random.normal(1, 0.04)
    found = []
    for stack, share, part in known:
        if part not in ("both", version):
            continue
        mean = size * share / whole * random.lognormal(0, 0.05)
        slower = version == NEW and stacks[stack] and frames[stacks[stack][0]].function == SLOWER
        counts = random.poisson(mean * (FACTOR if slower else 1), len(windows))
        there = np.flatnonzero(counts)
        ts = START_S + windows[there] * WINDOW_S
        found.append(np.stack([ts, np.full_like(ts, series), np.full_like(ts, stack), counts[there]]))
    return found


def _agents() -> list[AgentState]:
    hooks = (HookState("sched_switch", "", True), HookState("kernel.cgroup_skb", "not in this kernel", False))
    found = []
    for number, host in enumerate((*HOSTS, SILENT, SKEWED)):
        registration = Registration(
            agent_id=host,
            run_id=1,
            host=host,
            protocol_version=1,
            registered_at_s=START_S,
            agent_version="0.9.2" if number == 3 else "1.0.0",
            kernel="6.1.0-28-amd64",
            architecture="x86_64",
            cpu_count=4,
            memory_bytes=16 << 30,
            backend="core",
            hooks=hooks,
            started_at_s=START_S - 86400,
        )
        beat = Beat(
            received_at_s=NOW_S - (700 if host == SILENT else 2 + number % 7),
            clock_skew_ms=14_200 if host == SKEWED else 3,
            rss_bytes=(38 + number % 9) << 20,
            map_bytes=9 << 20,
        )
        found.append(AgentState(registration, beat))
    return found


def fill(store: Store) -> Rows:
    """Write the fleet into a migrated store."""
    rows = make_fleet()
    insert(store, rows)
    insert_losses(store, NOW_S - 900, SKEWED, DropReason.QUEUE_FULL, 8)
    insert_losses(store, NOW_S - 900, HOSTS[2], DropReason.STACK_TRUNCATED, 311)
    store.insert("agents", agents_block(_agents()), "agents")
    return rows


def judge(folder: Path, store: Store) -> AlertService:
    """Alerts as they are at NOW_S, judged by the real rules on the real store."""
    rules = folder / "rules.toml"
    rules.write_text(RULES)
    now = [NOW_S - 300]
    alerts = AlertService(folder, rules, store, 60.0, 30 * 86400.0, clock=lambda: float(now[0]))
    for now[0] in range(NOW_S - 240, NOW_S + 1, 60):
        alerts.evaluate(now[0])
    return alerts
