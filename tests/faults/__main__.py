"""Breaks a collector, its store and its agents under load, again and again; then every window must count once.

    sudo .venv/bin/python -m tests.faults [--store chdb|server|cluster] [--faults 200] [--seed N] [--only NAME]

Needs root: what is stored is on a small disk of its own (tmpfs), so that it can be full. --forget runs a collector
whose deduplication is broken, which must be found out.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.faults.faults import FAULTS, run_faults
from tests.faults.scene import scene


def main() -> int:
    """Returns 0 when all is well."""
    options = _options()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    chance = random.Random(seed)
    names = options.only or list(FAULTS[options.store])
    chosen = [names[number % len(names)] for number in range(options.faults)]
    chance.shuffle(chosen)
    with (
        tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as temporary,
        scene(options.folder or Path(temporary), options.forget, options.store) as found,
    ):
        print(f"{len(chosen)} faults on {options.store}, seed {seed}: {dict(Counter(chosen))}", flush=True)
        found.start()
        faults = [FAULTS[options.store][name] for name in chosen]
        run_faults(found, faults, chance, lambda text: print(text, flush=True))
        verdict = found.finish()
        if options.folder:
            shutil.copytree(found.disk / "data", options.folder / "data")
    print(verdict)
    return 1 if verdict.wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=FAULTS, default="chdb", help="default: chdb")
    parser.add_argument("--faults", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=None, metavar="N")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be given several times")
    parser.add_argument("--forget", action="store_true", help="break deduplication")
    parser.add_argument("--folder", type=Path, help="keep ledgers, logs and the store here")
    options = parser.parse_args()
    known = FAULTS[options.store]
    if unknown := set(options.only or ()) - known.keys():
        parser.error(f"{options.store} has no fault {', '.join(unknown)}; it has {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
