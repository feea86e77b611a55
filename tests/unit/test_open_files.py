"""The limit on open files is raised as far as allowed, and never lowered."""

import resource
from collections.abc import Iterator

import pytest

from fleetprof.open_files import raise_limit


@pytest.fixture
def hard_limit() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def soft_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_raised_to_what_is_wanted_or_allowed(hard_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit - 200, hard_limit))
    assert raise_limit(hard_limit - 100) == soft_limit() == hard_limit - 100
    assert raise_limit(hard_limit + 100) == soft_limit() == hard_limit


def test_never_lowered(hard_limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    assert raise_limit(10) == soft_limit() == hard_limit
