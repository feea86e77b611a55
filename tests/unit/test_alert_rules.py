"""Rules: what is understood, where mistakes are, and what a reload does."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.alerts.rule_file import load_rules
from collector.alerts.rule_watch import RuleWatch
from collector.alerts.rules import ReleaseRule, ThresholdRule
from collector.alerts.toml_positions import place_of, positions
from fleetprof.errors import InputError

ROOT = Path(__file__).resolve().parents[2]

RECEIVER = '[[receiver]]\nname = "ops"\nkind = "webhook"\nurl = "http://127.0.0.1:1/hook"\n'
THRESHOLD = '[[rule]]\nname = "hot"\nkind = "threshold"\nmetric = "share"\nabove = 0.2\n'
RELEASE = '[[rule]]\nname = "slower"\nkind = "release"\n'


def load(path: Path, text: str, interval_s: float = 60.0):  # noqa: ANN201
    path.write_text(text)
    return load_rules(path, interval_s)


def test_a_rule_of_each_kind_is_read(tmp_path: Path) -> None:
    text = f"""{RECEIVER}bearer_token_file = "/etc/token"
{THRESHOLD}function_regex = "hash_.*"
window = "5m"
for = "2m"
receivers = ["ops"]
{RELEASE}scope = '{{service="shop"}}'
smallest_effect = {{ share = "0.1 %", relative = 0.05, cores = 0.01 }}
looks = ["30s", "1h"]
[rule.labels]
severity = "page"
[rule.annotations]
text = "{{function}} {{{{braces}}}}"
"""
    rules = load(tmp_path / "rules.toml", text)
    threshold, release = rules.rules
    assert isinstance(threshold, ThresholdRule)
    assert isinstance(release, ReleaseRule)
    assert (threshold.above, threshold.window_s, threshold.for_s) == (0.2, 300, 120)
    assert threshold.receivers == ("ops",)
    assert (release.effect.absolute, release.effect.relative, release.effect.cores) == (0.001, 0.05, 0.01)
    assert release.looks_s == (30, 3600)
    assert release.q_per_look == pytest.approx(0.005)
    assert release.labels == {"severity": "page"}
    assert rules.receivers[0].urls == ("http://127.0.0.1:1/hook",)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f'{THRESHOLD}functoin = "x"\n', 6, 'did you mean "function"?'),
        (f"{THRESHOLD[:-12]}above = 20\n", 5, "at most 1 (100 %)"),
        (f'{THRESHOLD[:-12]}above = "120 %"\n', 5, "at most 1 (100 %)"),
        (f"{THRESHOLD[:-12]}above = -1\n", 5, "too small"),
        (f"{THRESHOLD[:-12]}above = nan\n", 5, "not a number"),
        (f"{THRESHOLD}below = 0.5\n", 6, "always fire"),
        (f'{THRESHOLD}for = "10s"\n', 6, "shorter than the time between two evaluations"),
        (f'{THRESHOLD}function_regex = "a("\n', 6, "not a regular expression"),
        (f'{THRESHOLD}function_regex = "a"\nfunction = "b"\n', 6, "too"),
        (f'{THRESHOLD}receivers = ["opps"]\n{RECEIVER}', 6, 'unknown receiver "opps"; did you mean "ops"?'),
        (f"{THRESHOLD}scope = '{{service=}}'\n", 6, "not a selector"),
        (f"{THRESHOLD}scope = '{{service=~\"(\"}}'\n", 6, "not a selector"),
        (f"{THRESHOLD}labels = {{ service = 'x' }}\n", 6, "set by the alert itself"),
        (f"{THRESHOLD}[rule.labels]\n'a-b' = 'x'\n", 7, "not a label name"),
        (f"{THRESHOLD}[rule.annotations]\nt = '{{functoin}}'\n", 7, 'did you mean "function"?'),
        (f"{THRESHOLD}[rule.annotations]\nt = '{{0.x}}'\n", 7, "unknown value"),
        (f"{THRESHOLD}{THRESHOLD}", 7, 'named "hot" is at'),
        (f"{THRESHOLD[:-12]}", 1, "neither above nor below"),
        (f"{RELEASE}q = -0.1\n", 4, "too small"),
        (f"{RELEASE}q = 5\n", 4, "too large"),
        (f'{RELEASE}looks = ["1h",\n "20m"]\n', 4, "not in rising order"),
        (f"{RELEASE}looks = []\n", 4, "not a list of durations"),
        (f"{RELEASE}min_hosts = 0\n", 4, "too small"),
        (f"{RELEASE}smallest_effect = {{ shere = 1 }}\n", 4, 'did you mean "share"?'),
        (f"{RELEASE}[rule.smallest_effect]\nshare = 2\n", 5, "too large"),
        (f"{RELEASE}scope = 'version=\"1\"'\n", 4, "chooses the versions itself"),
        ('[[rule]]\nname = "x"\nkind = "realease"\n', 3, 'did you mean "release"?'),
        ('[[rule]]\nkind = "release"\n', 1, "name is missing"),
        ('[rule]\nname = "x"\n', 1, "Write [[rule]]"),
        ("[[rules]]\n", 1, 'did you mean "rule"?'),
        (f"{RECEIVER}{RECEIVER}", 6, 'named "ops" is at'),
        (RECEIVER.replace("http:", "ftp:"), 4, "not a URL"),
        (RECEIVER.replace("127", "me:secret@127"), 4, "holds a password"),
        (RECEIVER.replace('"webhook"', '"pager"'), 3, "not known"),
        (f"{RECEIVER}timeout = 'soon'\n", 5, "not a duration"),
        ("[[rule]\n", 1, "TOML"),
        ("a = \n", 1, "TOML"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "rules.toml"
    with pytest.raises(InputError) as caught:
        load(path, text)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)


def test_files_of_a_folder_share_receivers_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(f'{THRESHOLD}receivers = ["ops"]\n')
    (tmp_path / "b.toml").write_text(RECEIVER)
    assert len(load_rules(tmp_path, 60).rules) == 1
    (tmp_path / "c.toml").write_text(THRESHOLD)
    with pytest.raises(InputError, match=r"c\.toml:2: a rule named"):
        load_rules(tmp_path, 60)


def test_missing_rules_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no alert rules at"):
        load_rules(tmp_path / "none.toml", 60)
    with pytest.raises(InputError, match="holds no"):
        load_rules(tmp_path, 60)


def test_the_example_is_valid() -> None:
    assert load_rules(ROOT / "deploy/alerts/example.toml", 60).rules


def test_a_bad_new_file_keeps_the_old_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(THRESHOLD)
    watch = RuleWatch(path, 60)
    old = watch.rules
    assert not watch.poll()
    path.write_text(THRESHOLD.replace("above", "abvoe"))
    assert not watch.poll()
    assert watch.rules is old
    assert 'did you mean "above"?' in watch.problem
    replacement = tmp_path / "new"
    replacement.write_text(THRESHOLD.replace("0.2", "0.3"))
    os.replace(replacement, path)
    assert watch.poll()
    assert not watch.problem
    assert watch.rules.rules[0].above == 0.3
    path.unlink()
    assert not watch.poll()
    assert watch.rules.rules
    assert "no alert rules" in watch.problem


def test_places_of_values_over_several_lines() -> None:
    text = 'a = [\n  "x",\n]\n[[t]]\nb = """\n[[t]]\nc = 1\n"""\nd = 2\n[t.u]\ne.f = 3\n[[t]]\n  d = 5\n'
    tomllib.loads(text)
    found = positions(text)
    assert found[("a",)] == 1
    assert found[("t", 0, "b")] == 5
    assert found[("t", 0, "d")] == 9
    assert found[("t", 0, "u", "e", "f")] == 11
    assert found[("t", 1, "d")] == 13
    assert ("t", 0, "c") not in found
    assert place_of(found, ("t", 1, "unknown")) == 12


KEYS = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
VALUES = st.sampled_from(["1", '"x"', "[1,\n2]", '"""\na\n[[b]]\n"""', "{ p = 1 }", "'''\nq = 1'''"])


@given(st.lists(st.tuples(KEYS, VALUES, st.integers(0, 2)), max_size=12, unique_by=lambda row: row[0]))
def test_each_key_is_found_on_its_own_line(rows: list[tuple[str, str, int]]) -> None:
    lines, expected = ["[[t]]"], {}
    for key, value, blank in rows:
        lines += ["# comment"] * blank
        expected["t", 0, key] = len("\n".join(lines).split("\n")) + 1
        lines.append(f"{key} = {value}")
    found = positions("\n".join(lines))
    assert {path: line for path, line in found.items() if path in expected} == expected
