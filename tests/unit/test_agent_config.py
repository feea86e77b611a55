"""The agent's table of settings: it fits its dataclass, and its own kinds of value are checked."""

from dataclasses import fields
from pathlib import Path

import pytest

from agent.backends.interface import BackendOptions
from agent.config import TABLE, AgentConfig
from agent.identify.rules import Rule
from fleetprof.errors import InputError
from fleetprof.settings import Loaded, load_settings, settings_markdown

ROOT = Path(__file__).resolve().parents[2]


def load(flags: dict[str, str] | None = None, file: Path | None = None) -> Loaded[AgentConfig]:
    return load_settings(TABLE, AgentConfig, flags or {}, {}, file)


def written(folder: Path, text: str) -> Path:
    file = folder / "agent.toml"
    file.write_text(text)
    return file


def test_the_table_and_the_dataclass_have_the_same_fields_in_the_same_order() -> None:
    assert [setting.field for setting in TABLE] == [field.name for field in fields(AgentConfig)]


def test_defaults_are_those_of_the_design() -> None:
    config = load().config
    assert str(config.collector) == "127.0.0.1:4040"
    # A backend alone has nobody who would fill its tables.
    assert config.backend_options() == BackendOptions(unwind="auto")
    assert config.backend_options(only_pids=(7,)).only_pids == (7,)


FULL = """
labels = { team = "payments", rack = "r\\"1" }
host = "web-1"

[[rules]]
match = { process = "java", command = "*billing*" }
set = { service = "billing", team = "b" }

[[rules]]
match = { unit = "pg@*.service" }
set = { version = "15" }
"""


def test_labels_and_rules_reach_identity_and_survive_printing(tmp_path: Path) -> None:
    loaded = load(file=written(tmp_path, FULL))
    identity = loaded.config.identity()
    assert identity.host == "web-1"
    assert identity.labels == {"team": "payments", "rack": 'r"1'}
    assert identity.rules[0] == Rule(
        (("process", "java"), ("command", "*billing*")), (("service", "billing"), ("team", "b"))
    )
    assert load(file=written(tmp_path, loaded.as_toml())).config == loaded.config


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("labels = { service = 'x' }", 1, 'sets "service", which is no free label'),
        ("labels = { 'a-b' = 'x' }", 1, 'has "a-b", which is no label name'),
        ("rules = 3", 1, "is not a list of tables"),
        ("\n[[rules]]\nset = { service = 'x' }", 2, "lacks match"),
        ("[[rules]]\nmatch = { process = 'x' }", 1, "lacks set"),
        ("[[rules]]\nmatch = { process = 1 }\nset = { service = 'x' }", 1, "lacks match"),
        ("[[rules]]\nmatch = {}\nset = { service = 'x' }", 1, "lacks match"),
        ("[[rules]]\nmatch = { proces = 'x' }\nset = { service = 'x' }", 1, 'did you mean "process"?'),
        ("[[rules]]\nmach = { process = 'x' }\nset = { service = 'x' }", 1, 'did you mean "match"?'),
        ("[[rules]]\nmatch = { process = 'x' }\nset = { host = 'x' }", 1, 'cannot set the label "host"'),
        ("[[rules]]\nmatch = { process = 'x' }\nset = { 'a b' = 'x' }", 1, 'cannot set the label "a b"'),
        ("frequency_hz = 1001", 1, "is too large"),
        ("backend = 'ebpf'", 1, "is not known"),
    ],
)
def test_a_wrong_file_is_refused_at_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load(file=file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert reason in caught.value.message


def test_labels_are_checked_on_the_command_line_too() -> None:
    assert load({"labels": "team=a"}).config.labels == {"team": "a"}
    with pytest.raises(InputError, match="no free label"):
        load({"labels": "host=a"})


def test_a_token_is_never_printed() -> None:
    shown = load({"token": "fpt_geheim"}).as_toml()
    assert "geheim" not in shown
    assert "# token = (secret)" in shown
    assert 'token = ""' in load({}).as_toml()
    with pytest.raises(InputError) as caught:
        load({"token": "fpt_geheim\0"})
    assert "geheim" not in str(caught.value)


def test_the_documented_settings_are_those_of_the_table() -> None:
    assert settings_markdown(TABLE) in (ROOT / "deploy/README.md").read_text()
