"""Breaks a collector, its store and its agents under load, again and again; then every window must count once.

    sudo .venv/bin/python -m tests.faults [--store chdb|server|cluster|all] [--faults 200] [--seed N] [--only NAME]

Needs root: what is stored is on a small disk of its own (tmpfs), so that it can be full. `--store all` shares the
faults among the three, which run side by side, and prints one table. --forget runs a collector whose deduplication
is broken, which must be found out.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.faults.all_stores import run_all
from tests.faults.faults import FAULTS, run_faults
from tests.faults.own_space import enter_own_space
from tests.faults.result import Result
from tests.faults.scene import scene

ALL = "all"


def main() -> int:
    """Returns 0 when all is well."""
    options = _options()
    if options.store != ALL:
        enter_own_space("tests.faults")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end all that was started
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    with ExitStack() as ending:
        folder = options.folder or Path(
            ending.enter_context(tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True))
        )
        if options.store == ALL:
            return run_all(options.faults, options.minutes, seed, folder)
        result = _run(options, seed, folder)
    print(f"{options.store}: {result.verdict}", flush=True)
    return 1 if result.verdict.wrong else 0


def _run(options: argparse.Namespace, seed: int, folder: Path) -> Result:
    """All faults on one store."""
    store, chance = options.store, random.Random(seed)
    names = options.only or list(FAULTS[store])
    chosen = [names[number % len(names)] for number in range(options.faults)]
    chance.shuffle(chosen)
    with scene(folder, options.forget, store) as found:
        print(f"{len(chosen)} faults on {store}, seed {seed}: {dict(Counter(chosen))}", flush=True)
        found.start()
        faults = [FAULTS[store][name] for name in chosen]
        seconds = run_faults(
            found, faults, chance, lambda text: print(f"{store:8}{text}", flush=True), 60 * options.minutes
        )
        result = Result(store, seed, seconds, found.finish())
        if options.folder and result.verdict.wrong:
            shutil.copytree(found.disk / "data", folder / "data")
    if options.result:
        result.write(options.result)
    return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=[*FAULTS, ALL], default="chdb", help="default: chdb")
    parser.add_argument("--faults", type=int, default=200, metavar="N")
    parser.add_argument("--minutes", type=float, default=1e6, help="no fault begins after so many")
    parser.add_argument("--seed", type=int, default=None, metavar="N")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be given several times")
    parser.add_argument("--forget", action="store_true", help="break deduplication")
    parser.add_argument(
        "--folder", type=Path, help="keep ledgers and logs in this new folder, and the store if it is wrong"
    )
    parser.add_argument("--result", type=Path, metavar="FILE", help="write figures and verdict there (JSON)")
    options = parser.parse_args()
    if options.store == ALL:
        if options.only or options.forget or options.result:
            parser.error("--only, --forget and --result are for one store")
    elif unknown := set(options.only or ()) - FAULTS[options.store].keys():
        known = ", ".join(FAULTS[options.store])
        parser.error(f"{options.store} has no fault {', '.join(unknown)}; it has {known}")
    return options


if __name__ == "__main__":
    sys.exit(main())
