"""Finding the process behind each row."""

from agent.owners import find_owners
from agent.process import Process
from tests.unit.rows import captures


class _NoImages:
    def find(self, pid: int, time_ns: int) -> Process | None:
        raise AssertionError("nobody was sampled")


def test_a_window_without_samples() -> None:
    """A recording of a process that sleeps has none."""
    assert find_owners(_NoImages(), captures([])) == []
