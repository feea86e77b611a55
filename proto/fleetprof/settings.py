"""Settings from one table: the same rows make the flags, the environment, the file and their documentation.

A program declares its table (a list of Setting) and a frozen dataclass with one field per setting, named
`Setting.field`:

    TABLE = (
        Setting("listen", LISTEN, "0.0.0.0:4040", "Where agents push to."),
        Setting("retention", DURATION, "14d", "How long samples are kept.", minimum=3600),
    )

    @dataclass(frozen=True)
    class CollectorConfig:
        listen: Address
        retention_s: float

    add_flags(parser, TABLE)
    loaded = load_settings(TABLE, CollectorConfig, vars(parser.parse_args()), os.environ, DEFAULT_FILE)
    loaded.config.retention_s        # 1209600.0
    print(loaded.as_toml())          # --print-config

A flag wins over the environment, that over the file, that over the default.
"""

import argparse
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from fleetprof.errors import InputError
from fleetprof.setting_kinds import BOOL, Kind, quote

ENVIRONMENT_PREFIX = "FLEETPROF_"
CONFIG_FLAG = "config"
PRINT_FLAG = "print_config"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of a table. `default` is written as a person would write it; `minimum` and `maximum` are in the
    unit of the field (seconds, bytes, …), inclusive."""

    name: str
    kind: Kind
    default: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    """Its value is never printed."""

    @property
    def field(self) -> str:
        """The attribute of the config dataclass: the name with the unit of its kind."""
        return self.name + self.kind.suffix

    @property
    def flag(self) -> str:
        """The command line's option; "" where only a file can hold the value."""
        return "--" + self.name.replace("_", "-") if self.kind.from_text else ""

    @property
    def variable(self) -> str:
        """The environment variable; "" where only a file can hold the value."""
        return ENVIRONMENT_PREFIX + self.name.upper() if self.kind.from_text else ""

    @property
    def allowed(self) -> str:
        """What may be written, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        low, high = (self._bound(bound) for bound in (self.minimum, self.maximum))
        span = f" from {low} to {high}" if low and high else f", at least {low}" if low else ""
        return self.kind.allowed + (span or (f", at most {high}" if high else ""))

    @property
    def default_value(self) -> Any:
        """The default as `field` holds it."""
        return self.kind.from_text(self.default) if self.kind.from_text else self.kind.from_toml([])

    def _bound(self, bound: float | None) -> str:
        if bound is None:
            return ""
        return self.kind.to_toml(bound if self.kind.suffix == "_s" else _whole(bound)).strip('"')

    def check(self, value: Any) -> Any:
        """Return `value`; raises ValueError where it is out of range or not a choice."""
        if self.choices and value not in self.choices:
            raise ValueError("is not known" + did_you_mean(str(value), self.choices))
        if self.minimum is not None and value < self.minimum:
            raise ValueError("is too small")
        if self.maximum is not None and value > self.maximum:
            raise ValueError("is too large")
        return value


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A program's configuration and where each value came from (setting name → words)."""

    config: T
    sources: Mapping[str, str]
    table: tuple[Setting, ...]

    def as_toml(self) -> str:
        """The configuration in force as a TOML file that gives the same again, with each value's origin."""
        return "\n".join(self._entry(setting) for setting in self.table)

    def _entry(self, setting: Setting) -> str:
        value = setting.kind.to_toml(getattr(self.config, setting.field))
        line = f"{setting.name} = {value}"
        if setting.secret and getattr(self.config, setting.field) != setting.default_value:
            line = f"# {setting.name} = (secret)"
        return f"# {setting.help}\n# ({self.sources[setting.name]})\n{line}\n"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` when one of `known` is close, else ""."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f'; did you mean "{close[0]}"?' if close else ""


def add_flags(parser: argparse.ArgumentParser, table: Sequence[Setting]) -> None:
    """Add `--config`, `--print-config` and one option per setting. Options not given leave no attribute."""
    group = parser.add_argument_group("settings", "Also from the environment and the configuration file.")
    group.add_argument(
        "--config", metavar="FILE", default=argparse.SUPPRESS, help="Configuration file (TOML)."
    )
    group.add_argument(
        "--print-config", action="store_true", default=argparse.SUPPRESS,
        help="Print the configuration in force, with where each value came from, and exit.",
    )  # fmt: skip
    for setting in table:
        if setting.flag:
            _add_flag(group, setting)


def _add_flag(group: Any, setting: Setting) -> None:
    shown = f"{setting.help} [{setting.variable}; default: {setting.default or 'none'}]".replace("%", "%%")
    if setting.kind is BOOL:
        action: Any = {"action": argparse.BooleanOptionalAction}
    else:
        metavar = "{" + ",".join(setting.choices) + "}" if setting.choices else setting.kind.metavar
        action = {"action": "append" if setting.kind.repeats else "store", "metavar": metavar}
    group.add_argument(setting.flag, dest=setting.name, default=argparse.SUPPRESS, help=shown, **action)


def load_settings(
    table: Sequence[Setting],
    config_type: type[T],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    default_file: Path | None = None,
) -> Loaded[T]:
    """Read all settings; raises InputError naming the place, what was found and what is allowed.

    `flags` is `vars()` of the parsed command line (names that are no settings are ignored; its "config" names
    the file, which must then exist). `default_file` is read if it exists.
    """
    chosen = flags.get(CONFIG_FLAG)
    file = Path(chosen) if chosen else default_file
    document = _Document.read(file, must_exist=bool(chosen))
    document.refuse_unknown([setting.name for setting in table])
    values, sources = {}, {}
    for setting in table:
        values[setting.field], sources[setting.name] = _find(setting, flags, environ, document)
    return Loaded(config_type(**values), sources, tuple(table))


def _find(
    setting: Setting, flags: Mapping[str, Any], environ: Mapping[str, str], document: "_Document"
) -> tuple[Any, str]:
    """The value of the first place that has one, and that place in words."""
    if setting.flag and flags.get(setting.name) is not None:
        return _take(setting, _flag_text(flags[setting.name]), setting.flag, True), f"flag {setting.flag}"
    if setting.variable and environ.get(setting.variable):
        place = setting.variable
        return _take(setting, environ[place], place, True), f"environment {place}"
    if setting.name in document.values:
        place = document.place(setting.name)
        found = document.values[setting.name]
        return _take(setting, found, f"{place}: {setting.name}", False), f"file {place}"
    return setting.default_value, "default"


def _flag_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _take(setting: Setting, found: Any, place: str, is_text: bool) -> Any:
    read = setting.kind.from_text if is_text else setting.kind.from_toml
    assert read is not None
    try:
        return setting.check(read(found))
    except ValueError as error:
        shown = "(secret)" if setting.secret else _shown(found)
        raise InputError(
            f"{place} = {shown} {error}{'' if str(error).endswith('?') else '.'}",
            f"{setting.name} takes {setting.allowed}.",
        ) from None


def _shown(found: Any) -> str:
    text = quote(found) if isinstance(found, str) else repr(found)
    return text if len(text) <= 80 else text[:79] + "…"


def _whole(number: float) -> float:
    return int(number) if float(number).is_integer() else number


@dataclass(frozen=True, slots=True)
class _Document:
    """A parsed configuration file; empty when there is none."""

    path: Path | None
    text: str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path | None, must_exist: bool) -> "_Document":
        """Parse the file at `path`; raises InputError where it cannot be read or is not TOML."""
        if path is None or (not must_exist and not path.exists()):
            return cls(None, "", {})
        try:
            text = path.read_bytes().decode("utf-8")
            return cls(path, text, tomllib.loads(text))
        except OSError as error:
            raise InputError(
                f"The configuration file {path} cannot be read: {error.strerror}.",
                "Check the path and its permissions, or leave out --config.",
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{_syntax_place(path, str(error))}.", "The file must be TOML 1.0.") from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise InputError(f"{path}:{line}: the text is not UTF-8.", "Save the file as UTF-8.") from None

    def place(self, name: str) -> str:
        """`file:line` of a top-level key or table (the TOML parser keeps no positions)."""
        key = re.compile(rf"\s*(?:\[+\s*)?[\"']?{re.escape(name)}[\"']?\s*[=.\]]")
        lines = enumerate(self.text.splitlines(), 1)
        return next((f"{self.path}:{number}" for number, line in lines if key.match(line)), str(self.path))

    def refuse_unknown(self, known: Sequence[str]) -> None:
        """Raises InputError for the first key that is no setting."""
        for name in self.values:
            if name not in known:
                raise InputError(
                    f'{self.place(name)}: unknown setting "{name}"{did_you_mean(name, known) or "."}',
                    f"Known settings: {', '.join(known)}.",
                )


def _syntax_place(path: Path, message: str) -> str:
    """Turn tomllib's `reason (at line 3, column 5)` into `file:3: reason`."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message, re.DOTALL)
    if not match:
        return f"{path}: {message}"
    return f"{path}:{match[2]}: {match[1]}" if match[2] else f"{path}: {match[1]} at the end of the file"


def settings_markdown(table: Sequence[Setting]) -> str:
    """The table as Markdown for the documentation; flags and variables follow from the names."""
    rows = ["| Setting | Flag | Environment | Default | Meaning |", "|---|---|---|---|---|"]
    for setting in table:
        cells = [_code(setting.name), _code(setting.flag), _code(setting.variable), _code(setting.default)]
        meaning = f"{setting.help} Takes {setting.allowed}."
        rows.append("| " + " | ".join([*cells, meaning.replace("|", "\\|")]) + " |")
    return "\n".join(rows) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
