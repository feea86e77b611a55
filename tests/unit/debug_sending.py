"""Agents that offer debug files, as the collector sees them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from collector.debuginfo.files import DebugFiles, Kept
from collector.debuginfo.intake import Intake
from collector.debuginfo.offered import Offered, Question
from collector.debuginfo.offers import Answer, Offers
from collector.debuginfo.workers import WorkerLimits, Workers
from tests.workloads.stripped import Stripped

Part = tuple[int, bytes]


def offer(build_id: str, size: int, *, nameless: bool = True, lines: bool = True) -> Offered:
    """A file all of which would be sent."""
    return Offered(build_id, "/opt/shop/checkout", size, size, lines, nameless)


def question(agent: str, *offers: Offered) -> Question:
    """What `agent` asks."""
    return Question(agent, f"host-{agent}", offers)


def digest_of(parts: Sequence[Part]) -> bytes:
    """Of a whole file, by the contract."""
    digest = blake2b(digest_size=32)
    for offset, data in parts:
        digest.update(offset.to_bytes(8, "little") + data)
    return digest.digest()


def cut(data: bytes, size: int = 5000) -> list[Part]:
    """The parts of a file."""
    return [(at, data[at : at + size]) for at in range(0, len(data), size)]


@dataclass
class Shop:
    """A collector's offers on a folder of their own, with a clock that a test turns."""

    folder: Path
    limit_bytes: int = 1 << 20
    now_s: float = 1000.0
    nameless: set[str] = field(default_factory=set)
    changes: int = 0
    paid: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = DebugFiles(self.folder, self.limit_bytes)
        self.intake = Intake(self.files, Workers(WorkerLimits(cpu_s=60, wall_s=300)))
        self.offers = Offers(self.intake, lambda: self.nameless, self._changed, clock=lambda: self.now_s)

    def _changed(self) -> None:
        self.changes += 1

    def ask(self, agent: str, *offers: Offered) -> list[tuple[Answer, int]]:
        """What an agent is told."""
        return self.offers.ask(question(agent, *offers))

    def wanted(self, agent: str, offered: Offered) -> int:
        """The claim that an agent is given."""
        ((answer, claim),) = self.ask(agent, offered)
        assert answer is Answer.WANTED
        return claim

    def send(self, claim: int, parts: Sequence[Part]) -> Kept:
        """Send parts that are the whole file."""
        for part in parts[:-1]:
            assert self.part(claim, *part) is None
        kept = self.part(claim, *parts[-1], digest_of(parts))
        assert kept
        return kept

    def part(self, claim: int, offset: int, data: bytes, digest: bytes = b"") -> Kept | None:
        """Send one part."""
        return self.offers.take_part(claim, offset, data, zlib.crc32(data), digest, self.paid.append)

    def deliver(self, agent: str, built: Stripped) -> Kept:
        """Have an agent offer and send a whole file."""
        data = built.debug.read_bytes()
        return self.send(self.wanted(agent, offer(built.build_id, len(data))), cut(data))

    def incoming(self) -> int:
        """Files that are on their way."""
        return len(list((self.folder / "incoming").iterdir()))
