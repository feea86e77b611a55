"""Reads rules from TOML: one file, or all *.toml of a folder. Mistakes are told with file and line."""

import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from collector.alerts.rules import (
    ANNOTATION_VALUES,
    EFFECT_FIELDS,
    NO_VALUE,
    RECEIVER_FIELDS,
    RELEASE_FIELDS,
    RULE_FIELDS,
    RULE_KINDS,
    THRESHOLD_FIELDS,
    AnyRule,
    Receiver,
    ReleaseRule,
    RuleSet,
    ThresholdRule,
    url_problem,
)
from collector.alerts.toml_positions import Path as KeyPath
from collector.alerts.toml_positions import place_of, positions
from collector.compare.smallest_effect import SmallestEffect
from fleetprof.errors import InputError
from fleetprof.series import LABEL_NAME
from fleetprof.setting_kinds import format_duration_s, quote
from fleetprof.settings import Setting, did_you_mean

MAX_BYTES = 1 << 20
_TOP = ("rule", "receiver")
RESERVED_LABELS = ("alertname", "service", "version", "function", "fingerprint")
"""Labels that every alert gets from its subject; a rule cannot set them."""


def load_rules(path: Path, interval_s: float) -> RuleSet:
    """The rules in `path`; raises InputError for the first mistake, with its place.

    `interval_s` is the time between two evaluations: a shorter `for` could not be kept.
    """
    documents = [_Document.read(file) for file in rule_files(path)]
    receivers = [receiver for document in documents for receiver in _receivers(document)]
    rules = [
        rule
        for document in documents
        for rule in _rules(document, [receiver.name for receiver in receivers], interval_s)
    ]
    _refuse_duplicates(documents)
    return RuleSet(tuple(rules), tuple(receivers), tuple(str(document.path) for document in documents))


def rule_files(path: Path) -> list[Path]:
    """The file, or the *.toml of the folder by name; raises InputError when there is neither."""
    if path.is_dir():
        found = sorted(path.glob("*.toml"))
        if not found:
            raise InputError(f"The folder {path} holds no *.toml.", "Put a file of alert rules there.")
        return found
    if not path.exists():
        raise InputError(f"There are no alert rules at {path}.", "Check the setting alert_rules.")
    return [path]


@dataclass(frozen=True, slots=True)
class _Document:
    """A parsed file and where its keys stand."""

    path: Path
    values: Mapping[str, Any]
    lines: dict[KeyPath, int]

    @classmethod
    def read(cls, path: Path) -> "_Document":
        text = _read_text(path)
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            reason, _, where = str(error).partition(" (at ")
            line = where.removeprefix("line ").partition(",")[0] if where.startswith("line") else ""
            last = text.rstrip().count("\n") + 1
            raise InputError(f"{path}:{line or last}: {reason}.", "The file must be TOML 1.0.") from None
        document = cls(path, values, positions(text))
        document.refuse_unknown((), values, _TOP, "table")
        for name in _TOP:
            tables = values.get(name, [])
            if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
                document.fail((name,), f"{name} is not an array of tables.", f"Write [[{name}]].")
        return document

    def place(self, path: KeyPath) -> str:
        return f"{self.path}:{place_of(self.lines, path)}"

    def fail(self, path: KeyPath, message: str, hint: str) -> NoReturn:
        raise InputError(f"{self.place(path)}: {message}", hint)

    def refuse_unknown(
        self, path: KeyPath, given: Mapping[str, Any], known: Sequence[str], what: str
    ) -> None:
        for name in given:
            if name not in known:
                guess = did_you_mean(name, known) or "."
                self.fail((*path, name), f'unknown {what} "{name}"{guess}', f"Known: {', '.join(known)}.")

    def take(self, path: KeyPath, given: Mapping[str, Any], fields: Sequence[Setting]) -> dict[str, Any]:
        """Field → value of the table at `path`; None for what is left out and has no default."""
        self.refuse_unknown(path, given, [field.name for field in fields], "field")
        return {field.field: self._value(path, given, field) for field in fields}

    def _value(self, path: KeyPath, given: Mapping[str, Any], field: Setting) -> Any:
        if field.name not in given:
            if field.default == NO_VALUE and field.kind.from_text and field.kind.suffix != "_s":
                return field.kind.from_text("") if field.kind.repeats else None
            return field.default_value if field.kind.from_text else {}
        found = given[field.name]
        try:
            return field.check(field.kind.from_toml(found))
        except ValueError as error:
            shown = quote(found) if isinstance(found, str) else str(found)
            end = "" if str(error).endswith("?") else "."
            self.fail(
                (*path, field.name),
                f"{field.name} = {shown} {error}{end}",
                f"{field.name} takes {field.allowed}.",
            )

    def require(self, path: KeyPath, values: Mapping[str, Any], *names: str) -> None:
        for name in names:
            if not values[name]:
                self.fail(path, f"{name} is missing.", f"Every [[{path[0]}]] needs {name}.")


def _receivers(document: _Document) -> list[Receiver]:
    found = []
    for index, given in enumerate(document.values.get("receiver", [])):
        path: KeyPath = ("receiver", index)
        given = {**given, "url": [given["url"]]} if isinstance(given.get("url"), str) else given
        values = document.take(path, given, RECEIVER_FIELDS)
        document.require(path, values, "name", "kind", "url")
        urls = values.pop("url")
        for url in urls:
            if problem := url_problem(url):
                document.fail(
                    (*path, "url"), f"url = {quote(url)} {problem}.", "Example: http://127.0.0.1:9093."
                )
        found.append(Receiver(urls=tuple(dict.fromkeys(urls)), **values))
    return found


def _rules(document: _Document, receivers: Sequence[str], interval_s: float) -> list[AnyRule]:
    return [
        _rule(document, ("rule", index), given, receivers, interval_s)
        for index, given in enumerate(document.values.get("rule", []))
    ]


def _rule(
    document: _Document, path: KeyPath, given: Mapping[str, Any], receivers: Sequence[str], interval_s: float
) -> AnyRule:
    kind = given.get("kind")
    if kind not in RULE_KINDS:
        shown = f'"{kind}"' if kind else "nothing"
        guess = did_you_mean(str(kind), RULE_KINDS) or "."
        document.fail(
            (*path, "kind"), f"kind is {shown}{guess}", f"A kind is one of {', '.join(RULE_KINDS)}."
        )
    own = THRESHOLD_FIELDS if kind == "threshold" else RELEASE_FIELDS
    values = document.take(path, given, (*RULE_FIELDS, *own))
    document.require(path, values, "name")
    _check_common(document, path, values, receivers, interval_s)
    values["place"] = document.place(path)
    if kind == "threshold":
        return _threshold(document, path, values)
    return _release(document, path, values)


def _check_common(
    document: _Document, path: KeyPath, values: Mapping[str, Any], receivers: Sequence[str], interval_s: float
) -> None:
    every = format_duration_s(interval_s)
    if 0 < values["for_s"] < interval_s:
        shown = format_duration_s(values["for_s"])
        document.fail(
            (*path, "for"),
            f"for = {shown} is shorter than the time between two evaluations, {every}.",
            f'Write "0s" to fire at once, or at least "{every}".',
        )
    for name in values["receivers"]:
        if name not in receivers:
            guess = did_you_mean(name, receivers) or "."
            document.fail(
                (*path, "receivers"),
                f'unknown receiver "{name}"{guess}',
                f"Known: {', '.join(receivers) or 'none'}.",
            )
    for name in values["labels"]:
        _check_label(document, (*path, "labels", name), name)
    for name, text in values["annotations"].items():
        _check_annotation(document, (*path, "annotations", name), text)


def _check_label(document: _Document, path: KeyPath, name: str) -> None:
    if not LABEL_NAME.match(name):
        document.fail(path, f'"{name}" is not a label name.', "Label names are letters, digits and _.")
    if name in RESERVED_LABELS:
        document.fail(path, f'The label "{name}" is set by the alert itself.', "Choose another name.")


def _check_annotation(document: _Document, path: KeyPath, text: str) -> None:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        document.fail(path, f"not understood: {error}.", "Write {{ and }} for braces.")
    for _, name, form, conversion in parts:
        if name is not None and (name not in ANNOTATION_VALUES or form or conversion):
            guess = did_you_mean(name, ANNOTATION_VALUES) or "."
            document.fail(
                path, f'unknown value "{{{name}}}"{guess}', f"Known: {', '.join(ANNOTATION_VALUES)}."
            )


def _threshold(document: _Document, path: KeyPath, values: dict[str, Any]) -> ThresholdRule:
    values["function"], values["function_regex"] = values["function"] or "", values["function_regex"] or ""
    document.require(path, values, "metric")
    bounds = [(name, values[name]) for name in ("above", "below") if values[name] is not None]
    if not bounds:
        document.fail(path, "neither above nor below is given.", "A threshold rule needs a bound.")
    if values["function"] and values["function_regex"]:
        document.fail((*path, "function_regex"), "function is given, too.", "Give one of them.")
    for name, bound in bounds:
        if values["metric"] == "share" and (bound > 1 or (name == "above" and bound == 1)):
            document.fail(
                (*path, name),
                f"{name} = {bound:g} can never be passed: a share is at most 1 (100 %).",
                'Write a fraction such as 0.2, or "20 %".',
            )
        if name == "below" and bound == 0:
            document.fail((*path, name), "below = 0 can never be passed.", "Give a positive number.")
    if len(bounds) == 2 and values["below"] > values["above"]:
        document.fail(
            (*path, "below"), "below is larger than above, so the rule would always fire.", "Swap the two."
        )
    return ThresholdRule(**values)


def _release(document: _Document, path: KeyPath, values: dict[str, Any]) -> ReleaseRule:
    for matcher in values["scope"]:
        if matcher.label == "version":
            document.fail(
                (*path, "scope"),
                "a release rule chooses the versions itself.",
                "Leave version out of its scope.",
            )
    effect = document.take((*path, "smallest_effect"), values.pop("smallest_effect") or {}, EFFECT_FIELDS)
    smallest = SmallestEffect(absolute=effect["share"], relative=effect["relative"], cores=effect["cores"])
    return ReleaseRule(effect=smallest, **values)


def _refuse_duplicates(documents: Sequence[_Document]) -> None:
    for table in _TOP:
        seen: dict[str, str] = {}
        for document in documents:
            for index, given in enumerate(document.values.get(table, [])):
                name, place = cast(str, given["name"]), document.place((table, index, "name"))
                if name in seen:
                    raise InputError(
                        f'{place}: a {table} named "{name}" is at {seen[name]} already.',
                        "Give each its own name.",
                    )
                seen[name] = place


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The alert rules {path} cannot be read: {error.strerror}.", "Check its rights."
        ) from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} is {len(data)} bytes long; at most {MAX_BYTES} are read.", "Split it.")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: the text is not UTF-8.", "Save the file as UTF-8.") from None
