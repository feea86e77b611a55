"""python -m tests.fuzz: see the package's text."""

import argparse
import signal
import sys
from pathlib import Path

from tests.fuzz.campaign import Campaign, Places, table, work
from tests.fuzz.subjects import SUBJECTS, subject_of


def main() -> None:
    """Run, go on with, or print what is in the results."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Feed damaged inputs to readers."
    )
    parser.add_argument("--subject", action="append", choices=SUBJECTS, help="default: all")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs for each; default 10^6")
    parser.add_argument("--processes", type=int, default=1, help="workers at a time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most; another run goes on")
    parser.add_argument("--results", type=Path, default=Path("/tmp/fleetprof-fuzz.jsonl"))
    parser.add_argument("--keep", type=Path, default=Path("/tmp/fleetprof-fuzz"), help="for what breaks them")
    parser.add_argument("--replay", type=Path, help="feed this file once to --subject")
    parser.add_argument("--table", action="store_true", help="only print what the results hold")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    places = Places(given.results, given.keep)
    if given.work:
        name, *numbers = given.work
        work(name, *map(int, numbers), places)
    elif given.replay:
        for name in given.subject or parser.error("--replay wants a --subject"):
            subject = subject_of(name)
            print(name, subject.feed(given.replay.read_bytes()))
            subject.settle()
    else:
        if not given.table:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its workers end with it
            names = tuple(given.subject or SUBJECTS)
            Campaign(names, given.inputs, given.processes, given.seconds, places).run()
        print(table(places))


main()
