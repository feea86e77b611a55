"""One simulated service: its stacks in realistic breadth, how often each is seen, and its releases.

The stacks are spliced from those captured on a real program: where two captured stacks share a function, the
callers of one and the callees of the other make a stack that the program could have had. Request handlers of the
service's own stand in the middle. How often a stack is seen falls with its rank as Zipf's law has it.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetprof.frames import Frame, FrameKind
from query_ui.simulate.corpus import Captured, Corpus
from query_ui.simulate.stacks import I64, StackBook

FEWEST_STACKS, MOST_STACKS = 2_000, 20_000
ZIPF = 1.05
CHANGED_SHARE = 0.12
"""Part of a service's stacks that a release changes."""
GROWTH = 1.6
"""What a function that a release made slower takes, as a multiple."""
TABLE_BITS = 18
"""Stacks are drawn by one look into a table of 2^18 places: 5 ns a draw."""

F64 = npt.NDArray[np.float64]

_NOUNS = (
    *("Cart", "Order", "Price", "Stock", "Invoice", "Session", "Profile", "Search", "Feed", "Token", "Image"),
    *("Quote", "Route", "Batch", "Report", "Event", "Topic", "Index", "Ledger", "Coupon", "Review", "Offer"),
)
_VERBS = ("Get", "List", "Update", "Validate", "Render", "Merge", "Score", "Load", "Encode", "Sync", "Apply")
_THREADS = {
    "go": ("main", "gc"),
    "node": ("node", "libuv-worker"),
    "java": ("http-exec", "GC Thread", "Compiler"),
    "database": ("query", "merge", "http"),
    "tools": ("main",),
}


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """One version: which stacks it draws on the CPU, and how much CPU it takes beside the first one's."""

    version: str
    start_s: int
    """When its rollout begins; the first version was always there."""
    rollout_s: int
    cpu: I64
    """2^TABLE_BITS numbers of stacks, each as often as it is seen."""
    load: float
    grown: str = ""
    """The function that takes GROWTH times what it took; "" for none."""


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """What all hosts that run a service share."""

    name: str
    program: str
    cores: float
    """CPU time a second that one process takes on average."""
    threads: tuple[str, ...]
    releases: list[Release]
    waits: I64
    """As Release.cpu, for off-CPU time."""

    def release_at(self, time_s: int, place: float) -> Release:
        """What a host runs; `place` in [0, 1) is the host's in every rollout."""
        running = [each for each in self.releases if each.start_s + place * each.rollout_s <= time_s]
        return running[-1] if running else self.releases[0]


@dataclass(frozen=True, slots=True)
class Rollout:
    """When a release begins, and whether one of its functions became slower."""

    start_s: int
    rollout_s: int
    grows: bool


def make_service(
    name: str,
    program: str,
    corpus: Corpus,
    book: StackBook,
    rollouts: list[Rollout],
    random: np.random.Generator,
) -> Service:
    """Invent a service that resembles `program`; its stacks are added to `book`."""
    count = int(FEWEST_STACKS * (MOST_STACKS / FEWEST_STACKS) ** random.random())
    weaver = _Weaver(name, program, corpus.frames, corpus.cpu[program], random)
    stacks = weaver.weave(count)
    weights = _zipf(len(stacks), random)
    numbers = book.add(stacks)
    first = Release(_version(0, random), 0, 0, _table(numbers, weights), 1.0)
    releases = [first]
    for number, rollout in enumerate(rollouts, 1):
        changed = random.choice(len(stacks), int(CHANGED_SHARE * len(stacks)), replace=False)
        numbers = numbers.copy()
        numbers[changed] = book.add([weaver.changed(stacks[place], number) for place in changed.tolist()])
        grown, weights, load = (
            _grow(stacks, weights, random) if rollout.grows else ("", weights, releases[-1].load)
        )
        releases.append(
            Release(
                _version(number, random),
                rollout.start_s,
                rollout.rollout_s,
                _table(numbers, weights),
                load,
                grown,
            )
        )
    waiting = _Weaver(name, program, corpus.frames, corpus.offcpu[program], random).weave(min(count, 300))
    waits = _table(book.add(waiting), _zipf(len(waiting), random))
    cores = float(np.clip(random.lognormal(np.log(0.1), 0.8), 0.01, 1.0))
    return Service(name, program, cores, _THREADS[program], releases, waits)


def _version(number: int, random: np.random.Generator) -> str:
    return f"v{number + 1}.{random.integers(0, 20)}.{random.integers(0, 10)}"


def _zipf(count: int, random: np.random.Generator) -> F64:
    weights = np.arange(1, count + 1) ** -ZIPF
    random.shuffle(weights)
    shares: F64 = weights / weights.sum()
    return shares


def _table(numbers: I64, weights: F64) -> I64:
    """Each number as often as its weight says; the places are spread evenly over the distribution."""
    size = 1 << TABLE_BITS
    places = np.searchsorted(weights.cumsum() / weights.sum(), (np.arange(size) + 0.5) / size)
    return numbers[np.minimum(places, len(numbers) - 1)]


def _grow(
    stacks: list[tuple[Frame, ...]], weights: F64, random: np.random.Generator
) -> tuple[str, F64, float]:
    """A leaf function with 0.5 to 5 % of the time, the weights when it takes more, and the sum's growth."""
    shares: dict[str, float] = defaultdict(float)
    for stack, weight in zip(stacks, weights.tolist(), strict=True):
        if stack[0].kind != FrameKind.KERNEL:
            shares[stack[0].name] += weight
    fit = sorted(name for name, share in shares.items() if 0.005 <= share <= 0.05)
    name = fit[random.integers(len(fit))] if fit else max(shares, key=lambda each: shares[each], default="")
    factor = np.array([GROWTH if stack[0].name == name else 1.0 for stack in stacks])
    grown = weights * factor
    return name, grown, float(grown.sum())


class _Weaver:
    """Splices captured stacks of one program into new ones."""

    def __init__(
        self,
        service: str,
        program: str,
        frames: list[Frame],
        captured: list[Captured],
        random: np.random.Generator,
    ) -> None:
        self._random = random
        self._frames = frames
        self._captured = [each.frames for each in captured]
        shares = (
            np.array([each.captures for each in captured], np.float64) ** 0.5
        )  # rare ones are worth showing
        self._shares = shares / shares.sum()
        self._callees: dict[int, list[tuple[int, ...]]] = defaultdict(list)
        for stack in self._captured:
            for place, frame in enumerate(stack):
                self._callees[frame].append(stack[:place])
        self._handler = _handlers(service, program, random)

    def weave(self, count: int) -> list[tuple[Frame, ...]]:
        """`count` distinct stacks, leaf first; fewer when the captured ones do not yield so many."""
        found: dict[tuple[Frame, ...], None] = {}
        for _ in range(4):
            starts = self._random.choice(len(self._captured), count, p=self._shares).tolist()
            chances = self._random.random((count, 4)).tolist()
            for start, chance in zip(starts, chances, strict=True):
                found[self._one(self._captured[start], chance)] = None
                if len(found) == count:
                    return list(found)
        return list(found)

    def _one(self, stack: tuple[int, ...], chance: list[float]) -> tuple[Frame, ...]:
        """The callers of a captured stack from a random place on, with other callees that were seen there."""
        place = int(chance[0] * len(stack))
        others = self._callees[stack[place]]
        spliced = (*others[int(chance[1] * len(others))], *stack[place:])
        frames = [self._frames[number] for number in spliced]
        middle = max(len(frames) * 2 // 3, 1)
        handler = self._handler[int(chance[2] * chance[2] * len(self._handler))]
        return (*frames[:middle], *handler[: 1 + int(chance[3] * len(handler))], *frames[middle:])

    def changed(self, stack: tuple[Frame, ...], release: int) -> tuple[Frame, ...]:
        """The stack after a release put a function in between."""
        middle = max(len(stack) // 2, 1)
        before = stack[middle - 1]
        added = Frame(before.kind, f"{before.function or 'step'}.r{release}", before.mapping)
        return (*stack[:middle], added, *stack[middle:])


def _handlers(service: str, program: str, random: np.random.Generator) -> list[list[Frame]]:
    """Paths of one to four functions of the service's own, the innermost first."""
    count = int(random.integers(12, 40))
    kinds = {"go": FrameKind.GO, "node": FrameKind.NODE, "java": FrameKind.JVM}
    kind = kinds.get(program, FrameKind.NATIVE)
    paths = []
    for _ in range(count):
        noun = _NOUNS[random.integers(len(_NOUNS))]
        steps = random.choice(_VERBS, int(random.integers(1, 5)), replace=False).tolist()
        paths.append([Frame(kind, _function(kind, service, noun, step), service) for step in steps])
    return paths


def _function(kind: FrameKind, service: str, noun: str, verb: str) -> str:
    """A function's name as the language writes it."""
    if kind == FrameKind.GO:
        return f"{service}/internal/{noun.lower()}.(*Service).{verb}"
    if kind == FrameKind.JVM:
        return f"com.example.{service}.{noun}Service.{verb.lower()}"
    if kind == FrameKind.NODE:
        return f"{verb.lower()}{noun} {service}/src/{noun.lower()}.js"
    return f"{service}::{noun}::{verb.lower()}"
