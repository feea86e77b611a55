"""Parsing of the API's parameters."""

import contextlib
import threading

from hypothesis import given
from hypothesis import strategies as st

from collector.query.model import Profile, Query, TimeRange
from fleetprof.errors import InputError
from fleetprof.profile_types import selection
from query_ui.api.parameters import frame_path, integer, share
from query_ui.api.recent import KEPT, KEPT_S, RecentAnswers

NAMES = st.lists(st.text(min_size=1), min_size=1, max_size=6)


def written(names: list[str]) -> str:
    return ";".join(name.replace("\\", "\\\\").replace(";", "\\;") for name in names)


@given(NAMES)
def test_frame_paths_come_back(names: list[str]) -> None:
    assert frame_path(written(names)) == tuple(names)


@given(st.text())
def test_any_text_is_some_path(text: str) -> None:
    assert isinstance(frame_path(text), tuple)


def test_empty_path_is_the_root() -> None:
    assert frame_path("") == ()


@given(st.one_of(st.text(), st.floats().map(str), st.integers().map(str)))
def test_numbers_are_within_their_bounds_or_refused(text: str) -> None:
    for parse in (integer("limit", 1, 100), share):
        with contextlib.suppress(InputError):
            assert 0 <= parse(text) <= 100


def question(start: int) -> Query:
    return Query(selection("cpu"), (), TimeRange(start, start + 10))


class CountingLoad:
    """Loads nothing, but counts."""

    def __init__(self) -> None:
        self.calls: list[Query] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, query: Query) -> Profile:
        self.calls.append(query)
        assert self.gate.wait(10)
        return object()  # type: ignore[return-value]


def test_profile_is_loaded_once_while_it_is_fresh() -> None:
    now = [0.0]
    load = CountingLoad()
    cache = RecentAnswers(load, lambda: now[0])
    assert cache.get(question(1)) is cache.get(question(1))
    now[0] = KEPT_S + 1
    cache.get(question(1))
    assert len(load.calls) == 2


def test_only_the_last_profiles_are_kept() -> None:
    load = CountingLoad()
    cache = RecentAnswers(load, lambda: 0.0)
    for start in range(KEPT + 1):
        cache.get(question(start))
    cache.get(question(KEPT))
    assert len(load.calls) == KEPT + 1
    cache.get(question(0))
    assert len(load.calls) == KEPT + 2


def test_equal_questions_at_once_read_once() -> None:
    load = CountingLoad()
    load.gate.clear()
    cache = RecentAnswers(load, lambda: 0.0)
    found: list[Profile] = []
    askers = [threading.Thread(target=lambda: found.append(cache.get(question(1)))) for _ in range(4)]
    for asker in askers:
        asker.start()
    load.gate.set()
    for asker in askers:
        asker.join(10)
    assert len(load.calls) == 1
    assert len({id(profile) for profile in found}) == 1
    assert len(found) == 4
