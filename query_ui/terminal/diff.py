"""The command `fleetprof diff`: what changed from one selection to another, and a verdict for CI."""

import argparse
import operator
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.compare.units import UNITS
from fleetprof.errors import InputError
from query_ui.terminal.client import Parameters, client_of
from query_ui.terminal.commands import check_output, write_file
from query_ui.terminal.tables import print_table, printable

FORMATS = ("table", "folded", "pprof", "json")
FAILED = 1
"""Exit code when --fail-on is met."""

_CONDITION = re.compile(
    r"\s*(?P<measure>share|self|relative|cores|total)\s*(?P<op>>=|>|<=|<)\s*(?P<number>[-+]?\d+(?:\.\d+)?)\s*(?P<unit>%|pp)?\s*"
)
_OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_HINT = (
    'Examples: "share>0.5" (percentage points), "self>0.2", "relative>10" (percent), "cores>0.1", "total>3".'
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A threshold of --fail-on.

    share: a function's share with what it calls, in percentage points; self: its own; relative: in percent of
    A; cores: cores per host; total: CPU per host of the whole selection, in percent.
    """

    measure: str
    op: str
    number: float

    def holds(self, value: float | None) -> bool:
        """Whether a measured value crosses the threshold."""
        return value is not None and bool(_OPERATORS[self.op](value, self.number))


def parse_condition(text: str) -> Condition:
    """The condition that `text` says; raises InputError."""
    found = _CONDITION.fullmatch(text)
    if not found:
        raise InputError(f'--fail-on is not understood: "{text}".', _HINT)
    condition = Condition(found["measure"], found["op"], float(found["number"]))
    grows = condition.op.startswith(">")
    if condition.number == 0 or grows != (condition.number > 0):
        raise InputError(
            f'--fail-on "{text}" would be met by no change at all.',
            f"Give a number above 0 after >, or below 0 after <. {_HINT}",
        )
    return condition


def add_diff_options(diff: argparse.ArgumentParser) -> None:
    """Options besides server, range and type."""
    diff.add_argument("a", metavar="A", help='selector of A, e.g. \'service="checkout",version="1"\'')
    diff.add_argument("b", metavar="B", help="selector of B; compared with A")
    for side in ("a", "b"):
        for end, text in (("from", "start"), ("to", "end")):
            diff.add_argument(
                f"--{side}-{end}",
                default="",
                metavar="TIME",
                help=f"{text} of {side.upper()}, if not that of both",
            )
    diff.add_argument("--unit", choices=UNITS, default="share", help="default: share")
    diff.add_argument("--limit", type=int, default=20, help="at most so many functions (default: 20)")
    diff.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    diff.add_argument("-o", "--output", metavar="FILE", help="write to a file")
    diff.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="CONDITION",
        help="exit with 1 when a change beyond noise crosses it, e.g. share>0.5; can be repeated",
    )


def run_diff(given: argparse.Namespace) -> int:
    """Print what changed; 1 when a --fail-on condition is met by a change beyond noise."""
    conditions = [parse_condition(text) for text in given.fail_on]
    client = client_of(given)
    question = _question(given, conditions)
    if given.format in ("folded", "pprof"):
        check_output(given)
        _put(given, client.data("diff", {**question, "format": given.format}))
        return _judge(client.json("diff", _light(question)), conditions) if conditions else 0
    if given.format == "json":
        _put(given, client.data("diff", question))
        return _judge(client.json("diff", _light(question)), conditions) if conditions else 0
    answer = client.json("diff", _light(question))
    _print(answer, given.limit)
    return _judge(answer, conditions)


def _question(given: argparse.Namespace, conditions: list[Condition]) -> Parameters:
    return {
        "a_query": given.a,
        "b_query": given.b,
        "a_from": given.a_from,
        "a_to": given.a_to,
        "b_from": given.b_from,
        "b_to": given.b_to,
        "from": given.start,
        "to": given.end,
        "type": given.type,
        "unit": _unit(given.unit, conditions),
        "limit": 10_000 if conditions else min(max(given.limit, 1), 10_000),
    }


def _unit(unit: str, conditions: list[Condition]) -> str:
    """The unit, which conditions on shares or cores decide."""
    wanted = {"cores": "cores_per_host", "share": "share", "self": "share"}
    units = {wanted[condition.measure] for condition in conditions if condition.measure in wanted}
    if len(units) > 1:
        raise InputError("--fail-on asks for shares and for cores at once.", "Run diff once for each.")
    return units.pop() if units else unit


def _light(question: Parameters) -> Parameters:
    """Without the tree, which tables do not show."""
    return {**question, "min_share": 1}


def _put(given: argparse.Namespace, data: bytes) -> None:
    if given.output:
        write_file(Path(given.output), data)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _print(answer: dict[str, Any], limit: int) -> None:
    for name in ("a", "b"):
        print(f"{name.upper()}  {_side(answer[name])}")
    print(f"\n{answer['verdict']}\n{answer['method']['sentence']}\n{answer['visible']}\n")
    shown = [mover for mover in answer["movers"] if mover["significant"]][:limit]
    if not shown:
        shown = answer["movers"][: min(limit, 5)]
        print("No function moved beyond noise. The largest differences, all within noise:\n")
    share = answer["unit"] == "share"
    heads = ("A", "B", "Change", "95 % interval", "Self", "Function")
    rows = [_row(mover, share) for mover in shown]
    print_table(sys.stdout, heads, rows, left=len(heads) - 1)
    if answer["noise"]:
        print(f"\n{answer['noise']} of {answer['functions']} functions are within noise.")


def _side(arm: dict[str, Any]) -> str:
    complete = 100 * arm["completeness"]["share"]
    hosts = "1 host" if arm["hosts"] == 1 else f"{arm['hosts']} hosts"
    figures = f"{hosts}, {arm['cores']:.2f} cores, {arm['captures']} samples, {complete:.1f} % complete"
    return printable(f"{arm['query']}  {figures}")


def _row(mover: dict[str, Any], share: bool) -> tuple[str, ...]:
    total, own = mover["total"], mover["self"]
    interval = f"{_signed(total['low'], share)} to {_signed(total['high'], share)}"
    name = f"{mover['name']}  {mover['location'] or mover['mapping']}".rstrip()
    change, self_change = _signed(total["delta"], share), _signed(own["delta"], share)
    return _plain(total["a"], share), _plain(total["b"], share), change, interval, self_change, name


def _plain(value: float | None, share: bool) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.2f} %" if share else f"{value:.3f}"


def _signed(value: float | None, share: bool) -> str:
    if value is None:
        return "–"
    text = f"{100 * value:+.2f} pp" if share else f"{value:+.3f}"
    if not float(re.sub(r"[^\d.]", "", text)):
        text = text[1:]  # a change that rounds to zero has no sign
    return text.replace("-", "\N{MINUS SIGN}")


def _judge(answer: dict[str, Any], conditions: list[Condition]) -> int:
    """The exit code, with the reasons on standard error."""
    reasons = [reason for condition in conditions for reason in _reasons(answer, condition)]
    for reason in reasons:
        print(f"fleetprof: {reason}", file=sys.stderr)
    if conditions and not answer["can_tell"]:
        print("fleetprof: too little data to judge --fail-on; it is not met.", file=sys.stderr)
    return FAILED if reasons else 0


def _reasons(answer: dict[str, Any], condition: Condition) -> list[str]:
    wanted = f"{condition.measure} {condition.op} {condition.number:g}"
    if condition.measure == "total":
        cpu = answer["cpu"]
        value = _ratio(cpu)
        met = cpu["significant"] and condition.holds(value)
        return [f"CPU per host changed by {value:+.1f} % ({wanted})."] if met and value is not None else []
    found = []
    for mover in answer["movers"]:
        effect = mover["self" if condition.measure == "self" else "total"]
        value = _ratio(effect) if condition.measure == "relative" else _scaled(effect, answer["unit"])
        if effect["significant"] and value is not None and condition.holds(value):
            found.append(f"{printable(mover['name'])} changed by {value:+.2f} ({wanted}).")
    return found


def _ratio(effect: dict[str, Any]) -> float | None:
    """Change in percent of A; without a value in A, any growth is beyond all bounds."""
    if effect["delta"] is None or effect["a"] is None:
        return None
    if not effect["a"]:
        return float("inf") if effect["delta"] > 0 else None
    return float(100 * effect["delta"] / effect["a"])


def _scaled(effect: dict[str, Any], unit: str) -> float | None:
    """Change in percentage points or cores."""
    if effect["delta"] is None:
        return None
    return float(effect["delta"]) * (100 if unit == "share" else 1)
