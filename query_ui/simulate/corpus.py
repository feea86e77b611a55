"""The stacks of real programs that simulated services are made from (made by record_corpus.py).

The file is JSON, compressed with xz: {"frames": [[kind, function, mapping, build id, offset], …], "programs":
{name: [[profile type, captures, [places in frames, leaf first]], …]}}.
"""

import json
import lzma
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fleetprof.frames import Frame, FrameKind

FILE = Path(__file__).with_name("corpus.json.xz")


@dataclass(frozen=True, slots=True)
class Captured:
    """One stack of a program: places in `Corpus.frames`, leaf first, and how often it was seen."""

    frames: tuple[int, ...]
    captures: int


@dataclass(frozen=True, slots=True)
class Corpus:
    """Frames, and for each program its stacks on the CPU and waiting."""

    frames: list[Frame]
    cpu: dict[str, list[Captured]]
    offcpu: dict[str, list[Captured]]


@cache
def load() -> Corpus:
    """The corpus of this package."""
    data = json.loads(lzma.decompress(FILE.read_bytes()))
    frames = [Frame(FrameKind(kind), *rest) for kind, *rest in data["frames"]]
    stacks: dict[str, dict[str, list[Captured]]] = {"cpu": {}, "offcpu": {}}
    for program, found in data["programs"].items():
        for kind, captures, places in found:
            stacks[kind].setdefault(program, []).append(Captured(tuple(places), captures))
    return Corpus(frames, stacks["cpu"], stacks["offcpu"])
