"""A simulated fleet: which hosts there are and when, what runs on each, and how busy it is.

Everything follows from the seed and the start, so that two runs of the command with the same `--seed` differ in
their windows only by when they were made.
"""

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fleetprof.profile_types import WINDOW_NS
from query_ui.simulate.corpus import load
from query_ui.simulate.service import Rollout, Service, make_service
from query_ui.simulate.stacks import StackBook

WINDOW_S = WINDOW_NS // 10**9
DAY_S = 86400
SERVICES_A_HOST = 4
REGIONS = ("eu-west", "us-east", "ap-south")
CPU_COUNTS = (4, 8, 16, 32)

COMES_AND_GOES = 0.1
"""Part of the hosts that are there only for some of the time, as autoscaling has it."""
RESTARTS_A_DAY = 0.3
SKEWED = 0.02
"""Part of the hosts whose clocks are wrong, by up to SKEW_S."""
SKEW_S = 120.0
AWAY_A_DAY = 0.5
"""How often a host's network is away; its windows come late."""
AWAY_S = (300, 2400)

_NAMES = (
    *("checkout", "search", "cart", "payments", "catalog", "auth", "feed", "images", "orders", "pricing"),
    *(
        "inventory",
        "notify",
        "gateway",
        "profile",
        "reports",
        "ledger",
        "routing",
        "sessions",
        "ads",
        "metrics",
    ),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate. `start_s` and `end_s` are Unix seconds, multiples of 10."""

    hosts: int
    services: int
    start_s: int
    end_s: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One life of a host's agent: from its start to its end, Unix seconds."""

    run_id: int
    start_s: int
    end_s: int


@dataclass(frozen=True, slots=True)
class Instance:
    """A service's process on a host."""

    service: Service
    cores: float
    """CPU time a second on average, before its release and the time of day are accounted for."""
    place: float
    """In [0, 1): when in a rollout this host gets the release."""
    pod: str


@dataclass(slots=True)
class Host:
    """One host and its agent."""

    number: int
    name: str
    agent_id: str
    region: str
    cpu_count: int
    skew_s: float
    """The host's clock minus the true time."""
    phase_s: int
    """When the host's day begins: its region's mornings."""
    instances: list[Instance]
    runs: list[Run]
    away: list[tuple[int, int]]
    """When its network is away, Unix seconds."""
    confirmed: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Numbers of stacks whose definition the collector was sent in this run."""

    def run_at(self, time_s: int) -> Run | None:
        """The agent's life at a time, None while there is none."""
        return next((run for run in self.runs if run.start_s <= time_s < run.end_s), None)

    def is_away(self, time_s: int) -> bool:
        """Whether what it sends at a time arrives later."""
        return any(first <= time_s < last for first, last in self.away)

    def load(self, times_s: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """How busy the host is, 1 on the average of a day."""
        return 1.0 + 0.6 * np.sin(2 * np.pi * (times_s - self.phase_s) / DAY_S)


@dataclass(slots=True)
class Fleet:
    """All of it."""

    plan: Plan
    book: StackBook
    services: list[Service]
    hosts: list[Host]


def make_fleet(plan: Plan) -> Fleet:
    """Invent the fleet of a plan; takes some 0.2 s a service."""
    random = np.random.default_rng(plan.seed)
    corpus, book = load(), StackBook()
    programs = [name for name in corpus.cpu if name in corpus.offcpu]
    services = [
        make_service(
            _name(number), programs[number % len(programs)], corpus, book, _rollouts(plan, random), random
        )
        for number in range(plan.services)
    ]
    hosts = [_host(plan, number, services, random) for number in range(plan.hosts)]
    return Fleet(plan, book, services, hosts)


def _name(number: int) -> str:
    name = _NAMES[number % len(_NAMES)]
    return name if number < len(_NAMES) else f"{name}-{number // len(_NAMES) + 1}"


def _rollouts(plan: Plan, random: np.random.Generator) -> list[Rollout]:
    """A release each 8 to 40 hours, and one in the middle of every second service; half make something slower."""
    times = np.cumsum(random.uniform(8, 40, 100)) * 3600 + plan.start_s
    found = [int(time) for time in times if time < plan.end_s]
    if not found and random.random() < 0.5:
        found = [(plan.start_s + plan.end_s) // 2]
    rollout_s = min(7200, (plan.end_s - plan.start_s) // 8)
    return [Rollout(start_s, rollout_s, bool(random.random() < 0.5)) for start_s in found]


def _host(plan: Plan, number: int, services: list[Service], random: np.random.Generator) -> Host:
    region = REGIONS[number % len(REGIONS)]
    name = f"{region}-node-{number:05}"
    count = min(SERVICES_A_HOST, len(services))
    first = number * count % len(services)  # so that each service runs somewhere, and all on as many hosts
    chosen = [
        services[(first + step * (1 + number // len(services) % 3)) % len(services)] for step in range(count)
    ]
    skewed = random.random() < SKEWED
    return Host(
        number=number,
        name=name,
        agent_id=f"sim-{plan.seed}-{number:05}",
        region=region,
        cpu_count=CPU_COUNTS[random.integers(len(CPU_COUNTS))],
        skew_s=float(random.uniform(-SKEW_S, SKEW_S) if skewed else random.normal(0, 0.02)),
        phase_s=int(8 * 3600 + REGIONS.index(region) * DAY_S // len(REGIONS)),
        instances=[
            Instance(
                service, service.cores * float(random.lognormal(0, 0.3)), float(random.random()),
                f"{service.name}-{random.integers(1 << 32):08x}",
            )
            for service in dict.fromkeys(chosen)
        ],
        runs=_runs(plan, number, random),
        away=_away(plan, random),
    )  # fmt: skip


def _runs(plan: Plan, number: int, random: np.random.Generator) -> list[Run]:
    """The lives of a host's agent."""
    begin, end = plan.start_s, plan.end_s
    if random.random() < COMES_AND_GOES:
        length = (end - begin) * random.uniform(0.2, 0.8)
        begin += int(random.uniform(0, end - begin - length))
        end = begin + int(length)
    restarts = random.poisson(RESTARTS_A_DAY * (end - begin) / DAY_S)
    times = sorted(int(time) for time in random.uniform(begin, end, restarts))
    edges = [_aligned(time) for time in (begin, *times, end)]
    return [Run(_run_id(plan, number, first), first, last) for first, last in pairwise(edges) if first < last]


def _away(plan: Plan, random: np.random.Generator) -> list[tuple[int, int]]:
    count = random.poisson(AWAY_A_DAY * (plan.end_s - plan.start_s) / DAY_S)
    starts = random.uniform(plan.start_s, plan.end_s, count)
    lengths = random.uniform(*AWAY_S, count)
    return [(int(start), int(start + length)) for start, length in zip(starts, lengths, strict=True)]


def _aligned(time_s: float) -> int:
    return int(time_s) // WINDOW_S * WINDOW_S


def _run_id(plan: Plan, number: int, start_s: int) -> int:
    """The same for the same plan, so that a simulation that is begun again counts once."""
    text = f"{plan.seed} {plan.start_s} {plan.end_s} {number} {start_s}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1 or 1
