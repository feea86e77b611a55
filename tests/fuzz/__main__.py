"""python -m tests.fuzz [--receiver NAME …] [--inputs N] [--seed N] [--keep FOLDER] [--replay FILE]."""

import argparse
from pathlib import Path

from tests.fuzz.run import run
from tests.fuzz.seeds import RECEIVERS
from tests.fuzz.targets import Bench, target_of


def main() -> None:
    """Run, and print a line a receiver."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the receivers.")
    parser.add_argument("--receiver", action="append", choices=RECEIVERS, help="default: all")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs for each; default 10^6")
    parser.add_argument("--seed", type=int, default=1, help="another seed makes other inputs")
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-failures"), help="folder for what breaks them"
    )
    parser.add_argument("--replay", type=Path, help="feed this file once")
    given = parser.parse_args()
    for receiver in given.receiver or RECEIVERS:
        if given.replay:
            print(receiver, target_of(receiver, Bench())(given.replay.read_bytes()))
            continue
        found = run(receiver, given.inputs, given.seed, given.keep)
        print(
            f"{receiver}: {found.inputs} inputs, {found.taken} taken, {found.inputs / found.seconds:.0f}/s, "
            f"memory +{found.growth_bytes >> 20} MiB",
            flush=True,
        )


main()
