"""The commands that ask a server: top, query and labels."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fleetprof.errors import InputError, UnavailableError
from query_ui.terminal.call_tree import lines_of
from query_ui.terminal.client import Client, Parameters, client_of
from query_ui.terminal.tables import average, percent, print_table, printable

TREE_SHARE = 0.01
FORMATS = ("table", "folded", "pprof", "speedscope", "json")
_COLUMN = {"cpu": "Cores"}


def run_top(given: argparse.Namespace) -> int:
    """Print the functions with the most time."""
    client = client_of(given)
    answer = client.json("top", {**_question(given), "limit": given.limit, "sort": given.sort})
    if not answer["rows"]:
        return _say_nothing(client, given)
    whole, seconds = answer["total"], _covered_s(client, given, answer)
    rows = [
        (
            percent(row["self"], whole),
            percent(row["total"], whole),
            average(row["self"], seconds),
            f"{row['name']}  {row['location'] or row['mapping']}".rstrip(),
        )
        for row in answer["rows"]
    ]
    _print_headline(whole, seconds, given.type)
    print_table(sys.stdout, ("Self", "Total", _COLUMN.get(given.type, "Threads"), "Function"), rows, left=3)
    return 0


def run_query(given: argparse.Namespace) -> int:
    """Print a profile, or write it in the format of another tool."""
    client = client_of(given)
    if given.format == "table":
        return _print_tree(client, given)
    check_output(given)
    data = client.data("profile", {**_question(given), "format": given.format})
    if given.output:
        write_file(Path(given.output), data)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return 0


def run_labels(given: argparse.Namespace) -> int:
    """Print the names of labels, or the values of one, a line each."""
    client = client_of(given)
    question: Parameters = {"query": given.selector, "from": given.start, "to": given.end}
    if given.name:
        route = f"labels/{_checked(given.name)}/values"
        values = client.json(route, {**question, "limit": given.limit})["values"]
    else:
        values = client.json("labels", question)["labels"]
    for value in values:
        print(printable(value))
    return 0


def _question(given: argparse.Namespace) -> Parameters:
    return {"query": given.selector, "from": given.start, "to": given.end, "type": given.type}


def _covered_s(client: Client, given: argparse.Namespace, answer: dict[str, Any]) -> int:
    """Seconds of the answer's range for which there is data: what averages are over."""
    bounds = {"from": answer["range"]["start_s"], "to": answer["range"]["end_s"]}
    return int(client.json("series", {**_question(given), **bounds})["covered_s"])


def _print_tree(client: Client, given: argparse.Namespace) -> int:
    if given.output:
        raise InputError("A table is not written to a file.", "Choose a --format, or use > FILE.")
    answer = client.json("profile", {**_question(given), "min_share": TREE_SHARE / 2})
    flame = answer["flame"]
    if not flame["whole"]:
        return _say_nothing(client, given)
    seconds = _covered_s(client, given, answer)
    lines = list(lines_of(flame, TREE_SHARE))[: given.limit]
    rows = [
        (
            percent(line.total_value, flame["whole"]),
            percent(line.self_value, flame["whole"]),
            average(line.total_value, seconds),
            "  " * line.depth + line.name,
        )
        for line in lines
    ]
    _print_headline(flame["whole"], seconds, given.type)
    print_table(sys.stdout, ("Total", "Self", _COLUMN.get(given.type, "Threads"), "Function"), rows, left=3)
    return 0


def _print_headline(whole_ns: int, seconds: int, type_name: str) -> None:
    unit = "cores" if type_name == "cpu" else "threads"
    print(f"{average(whole_ns, seconds)} {unit} on average over {_duration(seconds)}\n")


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    parts = [f"{hours} h"] * bool(hours) + [f"{rest // 60} min"] * bool(rest // 60)
    return " ".join(parts + [f"{rest % 60} s"] * bool(rest % 60 or not parts))


def _say_nothing(client: Client, given: argparse.Namespace) -> int:
    """Tell on standard error why there is nothing; that is an answer, not a failure."""
    print(client.json("profile", _question(given))["explanation"], file=sys.stderr)
    return 0


def check_output(given: argparse.Namespace) -> None:
    """Raises InputError when binary data would go to a terminal."""
    if given.format == "pprof" and not given.output and sys.stdout.isatty():
        raise InputError("pprof is binary and would garble the terminal.", "Write it with -o profile.pb.gz.")


def write_file(path: Path, data: bytes) -> None:
    """Write what was downloaded and say so; raises UnavailableError."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UnavailableError(
            f"Cannot write {path}: {error.strerror}.", "Choose another file with -o."
        ) from None
    print(f"Wrote {path} ({len(data)} bytes).", file=sys.stderr)


def _checked(name: str) -> str:
    if not name.isascii() or not name.replace("_", "a").isalnum():
        raise InputError(f'"{name}" is not a label name.', "Label names are letters, digits and _.")
    return name
