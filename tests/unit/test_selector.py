"""Selectors: every matcher survives its text, and what is wrong is named at its character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.query.model import Matcher
from collector.query.selector import OPERATORS, anchored, check_regex, format_selector, parse_selector
from fleetprof.errors import InputError

NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MATCHERS = st.builds(Matcher, NAMES, st.sampled_from(["=", "!="]), TEXT) | st.builds(
    Matcher,
    NAMES,
    st.sampled_from(["=~", "!~"]),
    TEXT.filter(lambda text: check_regex(anchored(text)) is None),
)


@given(st.lists(MATCHERS, max_size=8).map(tuple))
def test_round_trip(matchers: tuple[Matcher, ...]) -> None:
    text = format_selector(matchers)
    assert text.isprintable() or any(not character.isprintable() for m in matchers for character in m.value)
    assert parse_selector(text) == matchers
    assert parse_selector(text[1:-1]) == matchers


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_selector(text)
    except InputError as error:
        assert "\n" not in error.message or "\n" in text  # noqa: PT017


@given(st.text(st.sampled_from(list("{}a=~!\"\\,' `x1")), max_size=16))
def test_almost_selectors_round_trip_or_are_refused(text: str) -> None:
    try:
        matchers = parse_selector(text)
    except InputError as error:
        assert "character" in error.message  # noqa: PT017
        return
    assert parse_selector(format_selector(matchers)) == matchers


@pytest.mark.parametrize(
    ("text", "matchers"),
    [
        ("", ()),
        ("{}", ()),
        (" { } ", ()),
        ('service="x"', (Matcher("service", "=", "x"),)),
        (
            r'{service="x",version=~"1\\..*",thread!="a"}',
            (Matcher("service", "=", "x"), Matcher("version", "=~", r"1\..*"), Matcher("thread", "!=", "a")),
        ),
        (" a = 'q\"' ,\nb !~ `\\d+` , ", (Matcher("a", "=", 'q"'), Matcher("b", "!~", r"\d+"))),
        (r'a="\x41\u00e9\U0001F600\n"', (Matcher("a", "=", "Aé😀\n"),)),
        ("a=''", (Matcher("a", "=", ""),)),
    ],
)
def test_what_is_understood(text: str, matchers: tuple[Matcher, ...]) -> None:
    assert parse_selector(text) == matchers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{service=checkout}", "at character 10: expected a quoted value."),
        ("{service=", "at character 10: expected a quoted value."),
        ('{service="x"', 'at character 13: expected "," or "}".'),
        ('{service="x"}}', "at character 14: expected the end."),
        ('service="x" version="1"', 'at character 13: expected ",".'),
        ("{service}", "at character 9: expected an operator: =, !=, =~ or !~."),
        ('{"x"}', "at character 2: expected a label name."),
        ("{,}", "at character 2: expected a label name."),
        ('{a="b}', "at character 4: expected a closing quote for the value that starts here."),
        ('{a="\\q"}', r"at character 5: expected an escape: \\ \" \n \r \t \xNN or \uNNNN."),
        ('{a="\\ud800"}', "at character 5: expected a Unicode character."),
        ("{" + "a" * 65 + '="x"}', "at character 2: expected a label name of at most 64 characters."),
    ],
)
def test_errors_name_the_character(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_selector(text)
    assert error.value.message == f"Selector not understood {message}"
    assert error.value.hint


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", r"\1", "a{2000}", "[z-a]", r"\Qx"])
def test_regular_expressions_are_checked_as_re2(pattern: str) -> None:
    with pytest.raises(InputError, match=r"at character 4: .* is not a regular expression"):
        parse_selector(f"a=~`{pattern}`")
    assert parse_selector(f"a=`{pattern}`")


def test_limits() -> None:
    with pytest.raises(InputError, match="characters long"):
        parse_selector('a="' + "x" * 10_000 + '"')
    with pytest.raises(InputError, match="matchers"):
        parse_selector(",".join(f'a{i}="x"' for i in range(40)))


def test_operators_are_all_understood() -> None:
    assert [parse_selector(f'a{op}"b"')[0].op for op in OPERATORS] == list(OPERATORS)
