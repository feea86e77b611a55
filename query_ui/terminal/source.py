"""`fleetprof source`: a function by line of source, as `perf annotate` shows it."""

import argparse
import json
import sys
from typing import Any

from query_ui.terminal.client import Parameters, client_of
from query_ui.terminal.tables import average, percent, printable

_SHARE, _NUMBER = 8, 6
_BAR = 10


def run_source(given: argparse.Namespace) -> int:
    """Print the listing; what is missing goes to standard error."""
    selector = given.selector
    if given.service:
        selector = ",".join(part for part in (f"service={json.dumps(given.service)}", selector) if part)
    question: Parameters = {
        "function": given.function, "mapping": given.mapping, "build": given.build, "query": selector,
        "from": given.start, "to": given.end,
    }  # fmt: skip
    answer = client_of(given).json("source", question)
    if given.json:
        print(json.dumps(answer, indent=2))
        return 0
    _print_head(answer)
    _print_lines(answer, given.limit)
    for notice in answer["notices"]:
        print(printable(f"{notice['text']} {notice['command']}".rstrip()), file=sys.stderr)
    return 0


def _print_head(answer: dict[str, Any]) -> None:
    cores = average(answer["own"], answer["covered_s"])
    print(printable(f"{answer['function']}: {cores} cores of its own on average"))
    where = f"{answer['file']}:{answer['start_line']}" if answer["start_line"] else answer["file"]
    parts = [
        where,
        answer["mapping"] and f"in {answer['mapping']}",
        answer["build_id"] and f"build {answer['build_id']}",
        answer["text_from"] and f"text from {answer['text_from']}",
    ]
    print(printable(", ".join(part for part in parts if part)), end="\n\n")


def _print_lines(answer: dict[str, Any], limit: int) -> None:
    """`share  bar  line  text`, or the `limit` heaviest lines where one is given."""
    lines, own = answer["lines"], answer["own"] or 1
    if limit > 0:
        heaviest = sorted(lines, key=lambda line: -line["value"])[:limit]
        lines = sorted((line for line in heaviest if line["value"]), key=lambda line: line["line"])
    most = max((line["value"] for line in lines), default=0) or 1
    before = 0
    for line in lines:
        if before and answer["text_from"] and line["line"] > before + 1:
            print(" " * (_SHARE + _BAR + 2) + "…".rjust(_NUMBER))
        before = line["line"]
        share = percent(line["value"], own) if line["value"] else ""
        bar = ("█" * max(round(_BAR * line["value"] / most), 1)) if line["value"] else ""
        inlined = ", ".join(each["function"] for each in line["inlined"])
        text = (line["text"] or "") + (f"   ← {inlined} inlined" if inlined else "")
        row = f"{share:>{_SHARE}} {bar:<{_BAR}} {before:>{_NUMBER}}  {text}"
        print(printable(row.rstrip()))
    rest = answer["unplaced"]
    if lines and rest:
        print(f"{percent(rest, own):>{_SHARE}} {'':<{_BAR}} {'':>{_NUMBER}}  (no line is known)")
