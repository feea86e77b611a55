"""Settings: precedence, the places named in errors, and that what is printed reads back the same."""

import argparse
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetprof.errors import InputError
from fleetprof.setting_kinds import (
    ADDRESS,
    BOOL,
    BYTES,
    DURATION,
    FLOAT,
    INT,
    LIST,
    LISTEN,
    PAIRS,
    PATH,
    STR,
    Address,
    Kind,
    format_bytes,
    format_duration_s,
    parse_bytes,
    parse_duration_s,
)
from fleetprof.settings import Loaded, Setting, add_flags, load_settings, settings_markdown

TABLE = (
    Setting("listen", LISTEN, "0.0.0.0:4040", "Where agents push to."),
    Setting("peer", ADDRESS, "[::1]:9000", "The other one."),
    Setting("retention", DURATION, "14d", "How long samples are kept; 100% of them.", minimum=3600),
    Setting("memory", BYTES, "64 MiB", "Upper bound of memory.", maximum=1 << 40),
    Setting("rate_hz", INT, "99", "Samples a second.", minimum=1, maximum=1000),
    Setting("share", FLOAT, "0.01", "Share of a CPU.", minimum=0, maximum=1),
    Setting("sched", BOOL, "true", "Follow waits."),
    Setting("mode", STR, "auto", "Which one.", choices=("auto", "core", "perf")),
    Setting("data", PATH, "data", "Folder."),
    Setting("names", LIST, "", "Some names."),
    Setting("labels", PAIRS, "", "Some labels."),
)


@dataclass(frozen=True)
class Config:
    listen: Address
    peer: Address
    retention_s: float
    memory_bytes: int
    rate_hz: int
    share: float
    sched: bool
    mode: str
    data: Path
    names: tuple[str, ...]
    labels: dict[str, str]


def load(
    arguments: str = "", environ: dict[str, str] | None = None, file: Path | None = None
) -> Loaded[Config]:
    parser = argparse.ArgumentParser()
    add_flags(parser, TABLE)
    return load_settings(TABLE, Config, vars(parser.parse_args(arguments.split())), environ or {}, file)


def test_defaults_are_read_like_any_other_value() -> None:
    assert load().config == Config(
        Address("0.0.0.0", 4040), Address("::1", 9000), 14 * 86400.0, 64 << 20, 99, 0.01, True, "auto",
        Path("data"), (), {},
    )  # fmt: skip


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text('mode = "perf"\nrate_hz = 7\nretention = "2h"\n')
    loaded = load("--rate-hz 5", {"FLEETPROF_RATE_HZ": "6", "FLEETPROF_RETENTION": "3h"}, file)
    config = loaded.config
    assert (config.rate_hz, config.retention_s, config.mode, config.sched) == (5, 10800.0, "perf", True)
    assert loaded.sources["rate_hz"] == "flag --rate-hz"
    assert loaded.sources["retention"] == "environment FLEETPROF_RETENTION"
    assert loaded.sources["mode"] == f"file {file}:1"
    assert loaded.sources["sched"] == "default"


def test_flags_can_switch_off_and_repeat() -> None:
    config = load("--no-sched --names a,b --names c --labels x=1 --labels y=2,z=3").config
    assert not config.sched
    assert config.names == ("a", "b", "c")
    assert config.labels == {"x": "1", "y": "2", "z": "3"}


def test_an_empty_variable_is_the_same_as_none() -> None:
    assert load(environ={"FLEETPROF_RATE_HZ": ""}).config.rate_hz == 99


def test_printed_configuration_reads_back_the_same_and_names_its_sources(tmp_path: Path) -> None:
    loaded = load('--labels a="b\\c" --retention 90m --data /x/ü', {"FLEETPROF_MEMORY": "1500 kB"})
    printed = loaded.as_toml()
    assert "# (flag --retention)\nretention = " in printed
    assert "# (environment FLEETPROF_MEMORY)" in printed
    file = tmp_path / "printed.toml"
    file.write_text(printed)
    assert load(file=file).config == loaded.config


def test_help_names_every_flag_variable_and_default() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, TABLE)
    text = " ".join(parser.format_help().split())
    for setting in TABLE:
        assert setting.flag in text
        assert setting.variable in text
        assert setting.default in text
    assert "100% of them" in text


@pytest.mark.parametrize(
    ("toml", "line", "parts"),
    [
        ("\nrate_hz = 0\n", 2, ["rate_hz = 0 is too small", "from 1 to 1000"]),
        ("rate_hz = 1001", 1, ["is too large"]),
        ("rate_hz = true", 1, ["is not a whole number"]),
        ("rate_hz = 1.0", 1, ["is not a whole number"]),
        ('rate_hz = "fast"', 1, ['"fast" is not a whole number']),
        ("share = nan", 1, ["is not a number"]),
        ('share = "1"', 1, ["is not a number"]),
        ("sched = 1", 1, ["is neither true nor false"]),
        ("# rate_hz = 3\nretention = 10", 2, ["is not a string", '"250ms"']),
        ('retention = "10"', 1, ["is not a duration"]),
        ('retention = "5m"', 1, ["is too small", "at least 1h"]),
        ('memory = "1 lb"', 1, ["is not a size in bytes"]),
        ("memory = -1", 1, ["is not a size in bytes"]),
        ('mode = "cor"', 1, ['did you mean "core"?', "one of auto, core, perf"]),
        ('peer = "localhost"', 1, ["is not an address"]),
        ('peer = "::1:80"', 1, ["is not an address"]),
        ('peer = "a:0"', 1, ["port from 1 to 65535"]),
        ('peer = "a:65536"', 1, ["port from 1 to 65535"]),
        ('names = "a"', 1, ["is not a list"]),
        ("names = [1]", 1, ["is not a string"]),
        ("mode = 'auto'\n\n[labels]\nx = 1", 3, ["is not a string"]),
        ('data = ""', 1, ["is empty"]),
        ('data = "~nobody-there/x"', 1, ["home of an unknown user"]),
        ('mode = "a\\u0000"', 1, ["is not valid text"]),
        ("rate_hzz = 3", 1, ['unknown setting "rate_hzz"; did you mean "rate_hz"?', "settings: listen,"]),
        ("mode = 'auto'\nrate-hz = 3", 2, ['did you mean "rate_hz"?']),
        ("mode = 'auto'\nrate_hz = \n", 2, ["TOML"]),
        ("rate_hz = 1\nrate_hz = 2\n", 2, ["TOML"]),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_line_reason_and_remedy(
    tmp_path: Path, toml: str, line: int, parts: list[str]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(toml)
    with pytest.raises(InputError) as caught:
        load(file=file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    for part in parts:
        assert part in str(caught.value)


def test_wrong_flags_and_variables_are_named() -> None:
    with pytest.raises(
        InputError, match=r"^--rate-hz = \"x\" is not a whole number\.\n  rate_hz takes a whole"
    ):
        load("--rate-hz x")
    with pytest.raises(InputError, match=r"^FLEETPROF_SCHED = \"maybe\" is neither true nor false\."):
        load(environ={"FLEETPROF_SCHED": "maybe"})
    with pytest.raises(InputError, match=r"^--labels = \"a\" is not a list of name=value"):
        load("--labels a")


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    assert load(file=tmp_path / "absent.toml").config.rate_hz == 99
    with pytest.raises(InputError, match="No such file or directory"):
        load(f"--config {tmp_path}/absent.toml")
    with pytest.raises(InputError, match="Is a directory"):
        load(f"--config {tmp_path}")
    (tmp_path / "latin.toml").write_bytes(b"# ok\nmode = '\xff'\n")
    with pytest.raises(InputError, match=r"latin\.toml:2: the text is not UTF-8"):
        load(f"--config {tmp_path}/latin.toml")


def test_a_long_wrong_value_does_not_flood_the_message() -> None:
    with pytest.raises(InputError) as caught:
        load("--rate-hz " + "9" * 100_000)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10), ("250ms", 0.25), ("1h30m", 5400), ("1h 30m", 5400), ("1.5h", 5400), ("2w", 1209600)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "10", "1x", "-1s", "1s!", "10sec", "1h30", "٣s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "count"), [("64 MiB", 1 << 26), ("1.5kB", 1500), ("4096", 4096), ("2kib", 2048), ("0", 0)]
)  # fmt: skip
def test_sizes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@given(st.integers(0, 10**18 - 1))
def test_sizes_are_written_as_they_are_read(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == count


@given(st.integers(0, 10**15))
def test_durations_are_written_as_they_are_read(nanoseconds: int) -> None:
    seconds = nanoseconds / 1e9
    assert parse_duration_s(format_duration_s(seconds)) == pytest.approx(seconds, abs=1e-9)


_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(_TEXTS, st.lists(_TEXTS), st.dictionaries(_TEXTS, _TEXTS))
def test_any_text_survives_being_written_as_toml(text: str, items: list[str], pairs: dict[str, str]) -> None:
    cases: list[tuple[Kind, Any]] = [(STR, text), (LIST, tuple(items)), (PAIRS, pairs)]
    for kind, value in cases:
        document = tomllib.loads(f"value = {kind.to_toml(value)}")
        assert kind.from_toml(document["value"]) == value


@given(st.sampled_from(TABLE), st.text(max_size=40))
def test_no_text_does_worse_than_an_input_error(setting: Setting, text: str) -> None:
    with suppress(InputError):
        load_settings(TABLE, Config, {setting.name: text}, {})


def test_markdown_has_a_row_per_setting() -> None:
    rows = settings_markdown(TABLE).splitlines()
    assert len(rows) == len(TABLE) + 2
    assert "| `rate_hz` | `--rate-hz` | `FLEETPROF_RATE_HZ` | `99` |" in rows[6]
    assert "a whole number from 1 to 1000" in rows[6]
