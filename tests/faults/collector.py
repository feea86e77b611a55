"""The collector's command, as users run it; with `forget` first, one that forgets which windows it has.

python -m tests.faults.collector [forget] run [OPTIONS]
"""

import sys

from collector.cli import main
from collector.ingest.accepted import AcceptedWindows


def forget() -> None:
    """Break deduplication: no window was ever stored before."""
    AcceptedWindows.__contains__ = lambda self, window: False  # type: ignore[method-assign]
    AcceptedWindows.look_up = lambda self, windows: set()  # type: ignore[method-assign]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["forget"]:
        forget()
        arguments = arguments[1:]
    sys.exit(main(arguments))
