"""The reader of a perf ring: nothing is lost or repeated when records wrap around its end."""

import mmap

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.perf_events import PerfRing, ring_pages


class Writer:
    """The kernel's side of a ring of one page."""

    def __init__(self) -> None:
        self.memory = bytearray(2 * mmap.PAGESIZE)
        self.ring = PerfRing.over(self.memory)
        self.head = np.frombuffer(self.memory, np.uint64, 1, 1024)
        self.tail = np.frombuffer(self.memory, np.uint64, 1, 1032)

    def write(self, data: bytes) -> bool:
        head, size = int(self.head[0]), mmap.PAGESIZE
        if head + len(data) - int(self.tail[0]) > size:
            return False
        for index, byte in enumerate(data):
            self.memory[mmap.PAGESIZE + (head + index) % size] = byte
        self.head[0] = head + len(data)
        return True


@given(st.lists(st.one_of(st.none(), st.integers(1, mmap.PAGESIZE // 8)), max_size=30))
def test_all_bytes_arrive_once_and_in_order(steps: list[int | None]) -> None:
    writer = Writer()
    written, received = b"", b""
    for number, step in enumerate([*steps, None]):
        if step is None:
            received += writer.ring.read()
            assert received == written
        else:
            data = bytes([number % 251]) * (8 * step)
            written += data if writer.write(data) else b""
    assert writer.ring.read() == b""


def test_rings_stay_within_the_memory_they_may_have() -> None:
    assert ring_pages(1) == 64
    assert ring_pages(2, total_bytes=1 << 20, most=512) == 128
    for cpus in (1, 2, 3, 64, 100, 500, 4096):
        pages = ring_pages(cpus)
        assert pages & (pages - 1) == 0
        assert pages == 8 or pages * mmap.PAGESIZE * cpus <= 16 << 20
