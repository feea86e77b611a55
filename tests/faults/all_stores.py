"""Runs on all three stores side by side, each in processes of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.faults import FAULTS
from tests.faults.result import Result, table

SHARES = {"chdb": 0.6, "server": 0.2, "cluster": 0.2}
"""Of all faults; on servers one takes several times as long."""
RESULT = "result.json"


def run_all(faults: int, minutes: float, seed: int, folder: Path) -> int:
    """Run so many faults in all; prints each as it comes and the table at the end. Returns 0 when all is well."""
    assert SHARES.keys() == FAULTS.keys()
    counts = {store: round(faults * share) for store, share in SHARES.items()}
    counts["chdb"] += faults - sum(counts.values())
    children = {
        store: subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        for store, command in _commands(counts, minutes, seed, folder)
    }
    failed = False
    for store, child in children.items():
        code = child.wait()
        failed |= bool(code)
        if not (folder / store / RESULT).exists():
            print(f"{store}: ended with {code} before its verdict", flush=True)
    results = [Result.read(path) for store in children if (path := folder / store / RESULT).exists()]
    print(f"\nseed {seed}\n{table(results)}" if results else "no result")
    return 1 if failed or len(results) < len(children) else 0


def _commands(
    counts: dict[str, int], minutes: float, seed: int, folder: Path
) -> Iterator[tuple[str, list[str]]]:
    for store, count in counts.items():
        own = folder / store
        own.mkdir(parents=True)
        options = {
            "store": store,
            "faults": count,
            "minutes": minutes,
            "seed": seed,
            "folder": own,
            "result": own / RESULT,
        }
        given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        yield store, [sys.executable, "-m", "tests.faults", *given]
