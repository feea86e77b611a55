"""Tables in a terminal: with colour where one is there, aligned plain text elsewhere."""

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = Sequence[str]


def print_table(out: TextIO, heads: Row, rows: Sequence[Row], left: int) -> None:
    """Print `rows` under `heads`; column `left` is text and comes last, the others are numbers."""
    safe = [[printable(cell) for cell in row] for row in rows]
    if out.isatty():
        _print_rich(out, heads, safe, left)
    else:
        _print_plain(out, heads, safe, left)


def _print_rich(out: TextIO, heads: Row, rows: Sequence[Row], left: int) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for index, head in enumerate(heads):
        table.add_column(
            head, justify="left" if index == left else "right", no_wrap=True, overflow="ellipsis"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(file=out, highlight=False).print(table)


def _print_plain(out: TextIO, heads: Row, rows: Sequence[Row], left: int) -> None:
    lines = [heads, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
    for line in lines:
        cells = [
            cell if index == left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        out.write("  ".join(cells).rstrip() + "\n")


def printable(text: str) -> str:
    """`text` without control characters: names come from other machines and must not drive the terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def percent(part: float, whole: float) -> str:
    """A share with two decimals."""
    return f"{100 * part / whole:.2f} %" if whole else "–"


def average(value_ns: float, seconds: float) -> str:
    """Cores or threads on average."""
    cores = value_ns / 1e9 / seconds if seconds else 0.0
    return f"{cores:.1f}" if cores >= 100 else f"{cores:.2f}" if cores >= 1 else f"{cores:.3f}"
