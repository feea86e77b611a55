"""Completion: what is offered at the cursor, and that taking it gives a selector that can go on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.query.completion import complete
from collector.query.model import Completion, Matcher, TimeRange
from collector.query.selector import parse_selector
from fleetprof.errors import InputError

RANGE = TimeRange(1_700_000_000, 1_700_003_600)
SERIES = (
    {"service": "checkout", "version": "1.0", "host": "a"},
    {"service": "checkout", "version": "1.1", "host": "b"},
    {"service": 'ca"rt', "version": "2.0", "host": "a"},
)


class Labels:
    """Labels of SERIES; only "=" matchers narrow, which is all that these tests use."""

    def _matching(self, matchers: tuple[Matcher, ...]) -> list[dict[str, str]]:
        return [s for s in SERIES if all(s.get(m.label) == m.value for m in matchers if m.op == "=")]

    def label_names(self, range: TimeRange, matchers: tuple[Matcher, ...] = ()) -> list[str]:
        return sorted({name for labels in self._matching(matchers) for name in labels})

    def label_values(
        self,
        name: str,
        range: TimeRange,
        matchers: tuple[Matcher, ...] = (),
        prefix: str = "",
        limit: int = 200,
    ) -> list[str]:
        values = {labels.get(name, "") for labels in self._matching(matchers)} - {""}
        return sorted(value for value in values if value.startswith(prefix))[:limit]


@pytest.mark.parametrize(
    ("text", "kind", "replaced", "candidates"),
    [
        ("|", "label", "", ("host", "service", "version")),
        ("{|", "label", "", ("host", "service", "version")),
        ("{se|", "label", "se", ("service",)),
        ("{se|rvi", "label", "servi", ("service",)),
        ("{service |", "operator", "", ("=", "!=", "=~", "!~")),
        ("{service!|", "operator", "!", ("!=", "!~")),
        ("{service=|", "value", "", ('"ca\\"rt"', '"checkout"')),
        ('{service="|', "value", '"', ('"ca\\"rt"', '"checkout"')),
        ('{service="ch|', "value", '"ch', ('"checkout"',)),
        ('{service="ch|eck"}', "value", '"check"', ('"checkout"',)),
        ('{service="ca\\"|', "value", '"ca\\"', ('"ca\\"rt"',)),
        ('{service="checkout"|', "separator", "", (",",)),
        ('{service="checkout",|', "label", "", ("host", "version")),
        ('{service="checkout", version="|', "value", '"', ('"1.0"', '"1.1"')),
        ('service="checkout",version=~"1|', "value", '"1', ('"1\\\\.0"', '"1\\\\.1"')),
        ('{service="x" "|', "separator", "", ()),
        ("}|", "separator", "", ()),
    ],
)
def test_candidates(text: str, kind: str, replaced: str, candidates: tuple[str, ...]) -> None:
    cursor = text.index("|")
    plain = text.replace("|", "")
    found = complete(plain, cursor, Labels(), RANGE)
    assert (found.kind, found.candidates) == (kind, candidates)
    assert plain[found.start : found.end] == replaced


@given(st.text(st.sampled_from(list('{}service="ch\\,!~ ')), max_size=24), st.integers(-2, 30))
def test_any_text_gives_a_place_inside_it(text: str, cursor: int) -> None:
    found = complete(text, cursor, Labels(), RANGE)
    assert 0 <= found.start <= found.end <= len(text)


def test_taking_candidates_leads_to_a_selector() -> None:
    text = ""
    for wanted in ("version", "=~", '"1\\\\.1"', ","):
        found: Completion = complete(text, len(text), Labels(), RANGE)
        if wanted == "=~":
            found = complete(text + " ", len(text) + 1, Labels(), RANGE)
            text += " "
        assert wanted in found.candidates
        text = text[: found.start] + wanted + text[found.end :]
    assert parse_selector(text) == (Matcher("version", "=~", r"1\.1"),)
    with pytest.raises(InputError):
        parse_selector(text + ",")
