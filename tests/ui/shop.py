"""An invented shop whose profiles look like real ones: Python, Node.js, C++ and kernel code on six hosts.

Fifteen minutes until NOW_S, with four windows in which nobody reported, one host that missed some more, and a
release of `checkout` in the middle.
"""

from pathlib import Path

import numpy as np

from collector.store.interface import Store
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from tests.store.generate import TYPES, WINDOW_S, Fleet, Rows, insert, insert_losses

NOW_S = 1_795_081_500
"""Thu 19 Nov 2026, 09:05 UTC."""
WINDOWS = 90
START_S = NOW_S - WINDOWS * WINDOW_S
HOSTS = tuple(f"shop-{number}" for number in range(1, 7))
SERVICES = ("checkout", "storefront", "gateway", "postgres")
SILENT = range(50, 54)
"""Windows in which no host reported."""

_KINDS = {
    "p": (FrameKind.PYTHON, "/app"),
    "P": (FrameKind.PYTHON, "/usr/lib/python3.11"),
    "c": (FrameKind.NATIVE, "/usr/bin/python3.11"),
    "l": (FrameKind.NATIVE, "/usr/lib/x86_64-linux-gnu/libc.so.6"),
    "j": (FrameKind.NODE, "node"),
    "n": (FrameKind.NATIVE, "/usr/local/bin/node"),
    "e": (FrameKind.NATIVE, "/usr/local/bin/envoy"),
    "g": (FrameKind.NATIVE, "/usr/lib/postgresql/15/bin/postgres"),
    "k": (FrameKind.KERNEL, "[kernel.kallsyms]"),
    "u": (FrameKind.NATIVE, "/opt/vendor/libpay.so"),
}


def read_stacks() -> list[tuple[str, int, list[Frame]]]:
    """(service, weight, frames from the outermost) of each line of shop.stacks."""
    found = []
    for line in (Path(__file__).parent / "shop.stacks").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        service, weight, *words = line.split()
        frames, letter = [], "p"
        for place, word in enumerate(words):
            if word[1:2] == ":" and word[0] in _KINDS:
                letter, word = word[0], word[2:]
            frames.append(_frame(letter, word, place))
        found.append((service, int(weight), frames))
    return found


def _frame(letter: str, word: str, place: int) -> Frame:
    kind, mapping = _KINDS[letter]
    if word == "?":
        return Frame(kind, "", mapping, "5f21", 0x4A10 + 0x60 * place)
    if kind is not FrameKind.PYTHON:
        return Frame(kind, word, mapping)
    return Frame(kind, word, mapping, "", 0, f"{word.split('.')[0].lower()}.py", 12 + len(word))


def make_shop() -> Rows:
    """The shop's rows; always the same."""
    random = np.random.default_rng(7)
    fleet = Fleet(START_S, WINDOWS, SERVICES, hosts=len(HOSTS))
    frames: dict[Frame, int] = {}
    stacks: dict[tuple[int, ...], int] = {(): 0}
    by_service: dict[str, list[tuple[int, int]]] = {}
    for service, weight, outermost_first in read_stacks():
        for cut in range(len(outermost_first), max(len(outermost_first) - 4, 0), -1):
            places = tuple(frames.setdefault(f, len(frames)) for f in reversed(outermost_first[:cut]))
            number = stacks.setdefault(places, len(stacks))
            share = weight * 100 if cut == len(outermost_first) else weight * 12
            by_service.setdefault(service, []).append((number, share))
    labels, reported, columns = _draw(random, by_service)
    return Rows(fleet, labels, list(frames), list(stacks), *columns, reported=reported)


def _draw(
    random: np.random.Generator, by_service: dict[str, list[tuple[int, int]]]
) -> tuple[list[dict[str, str]], list[tuple[str, int]], list[np.ndarray]]:
    labels: list[dict[str, str]] = []
    series: dict[tuple[str, str, str], int] = {}
    rows: list[tuple[int, int, int, int, int, int]] = []
    reported = []
    for window in range(WINDOWS):
        second = START_S + window * WINDOW_S
        for number, host in enumerate(HOSTS):
            if window in SILENT or (number == 4 and 20 <= window < 26):
                continue
            reported.append((host, second))
            for service in SERVICES:
                version = {"checkout": "2.31.0" if window >= 40 + number else "2.30.4"}.get(service, "1.8.2")
                key = (host, service, version)
                if key not in series:
                    series[key] = len(labels)
                    names = ("host", "service", "version", "process")
                    labels.append(
                        dict(
                            zip(names, (*key, service), strict=True),
                            region="eu-west" if number < 4 else "us-east",
                        )
                    )
                wave = 1 + 0.25 * np.sin(window / 14) + (0.2 if version == "2.31.0" else 0)
                for stack, share in by_service[service]:
                    for kind, size in ((0, 1.0), (1, 0.06), (2, 1.6)):
                        count = random.poisson(share * size * wave / 140)
                        if count:
                            value = count * 10_101_010
                            rows.append((second, series[key], kind, stack, value, count))
    columns = np.array(rows, np.int64).T
    ts, at, kind, stack, value, captures = columns
    assert kind.max() < len(TYPES)
    return labels, reported, [ts, at, kind, stack, value.astype(np.uint64), captures.astype(np.uint64)]


def fill(store: Store) -> Rows:
    """Write the shop into a migrated store."""
    rows = make_shop()
    insert(store, rows)
    insert_losses(store, START_S + 100, HOSTS[4], DropReason.STACK_TRUNCATED, 184)
    insert_losses(store, START_S + 210, HOSTS[4], DropReason.QUEUE_FULL, 6)
    return rows
