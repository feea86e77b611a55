"""Breaks a collector and its agents under load, again and again, then checks that every window counts once.

    sudo .venv/bin/python -m tests.faults [--faults 200] [--seed N] [--only NAME] [--forget]

Needs root: the collector's data is on a small disk of its own (tmpfs), so that it can be full. --forget runs a
collector whose deduplication is broken, which must be found out.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.faults import FAULTS, run_faults
from tests.faults.scene import scene


def main() -> int:
    """Returns 0 when all is well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=None, metavar="N")
    parser.add_argument("--only", choices=FAULTS, action="append", help="may be given several times")
    parser.add_argument("--forget", action="store_true", help="break deduplication")
    parser.add_argument("--folder", type=Path, help="keep ledgers, logs and the store here")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    chance = random.Random(seed)
    names = options.only or list(FAULTS)
    chosen = [names[number % len(names)] for number in range(options.faults)]
    chance.shuffle(chosen)
    with (
        tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as temporary,
        scene(options.folder or Path(temporary), options.forget) as found,
    ):
        print(f"{len(chosen)} faults, seed {seed}", flush=True)
        found.start()
        run_faults(found, chosen, chance, lambda text: print(text, flush=True))
        verdict = found.finish()
        if options.folder:
            shutil.copytree(found.disk / "data", options.folder / "data")
    print(verdict)
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
