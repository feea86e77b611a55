"""Laying mappings over mappings, against a model that keeps what every single page holds."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.process import Mapping
from agent.process_mappings import MAX_MAPPINGS, overlay

PAGE = 0x1000
FILES = ("/lib/a", "/lib/b", "")


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    start = draw(st.integers(0, 30))
    pages = draw(st.integers(1, 12))
    path = draw(st.sampled_from(FILES))
    offset = draw(st.integers(0, 5)) * PAGE if path else 0
    return Mapping(start * PAGE, (start + pages) * PAGE, offset, path, 1, len(path))


def pages_of(mapping: Mapping) -> dict[int, tuple[str, int]]:
    return {
        addr: (mapping.path, mapping.file_offset + addr - mapping.start_addr if mapping.path else 0)
        for addr in range(mapping.start_addr, mapping.end_addr, PAGE)
    }


@given(st.lists(mappings(), max_size=15))
def test_each_page_belongs_to_what_was_mapped_last(news: list[Mapping]) -> None:
    held: list[Mapping] = []
    model: dict[int, tuple[str, int]] = {}
    for new in news:
        before, copy = held, list(held)
        held = overlay(held, new)
        assert before == copy
        model.update(pages_of(new))
        found: dict[int, tuple[str, int]] = {}
        for mapping in held:
            assert not found.keys() & pages_of(mapping).keys()
            found.update(pages_of(mapping))
        assert found == model
        assert held == sorted(held, key=lambda mapping: mapping.start_addr)
        assert overlay(held, new) is held


def test_growing_anonymous_memory_stays_one_mapping() -> None:
    held: list[Mapping] = []
    for page in [*range(0, 40, 2), *range(1, 40, 2)]:
        held = overlay(held, Mapping(page * PAGE, (page + 1) * PAGE, 0, ""))
    assert held == [Mapping(0, 40 * PAGE, 0, "")]


def test_mapping_without_end_is_cut() -> None:
    held = [Mapping(2 * page * PAGE, (2 * page + 1) * PAGE, 0, "/x", 1, 1) for page in range(MAX_MAPPINGS)]
    beyond = Mapping(2**40, 2**40 + PAGE, 0, "/y", 1, 2)
    assert overlay(held, beyond) is held
    over = replace(held[5], path="/y")
    assert overlay(held, over)[5] == over
