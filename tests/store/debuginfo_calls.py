"""Runs `fleetprof-collector` commands one after the other, in this process: they are many, and starting takes long.

Standard input: a JSON list of argument lists; standard output: a JSON list of [exit code, what was said].
"""

import contextlib
import io
import json
import sys

from collector.cli import main


def call(arguments: list[str]) -> tuple[int, str]:
    """The command's exit code, and what it wrote to both of its outputs."""
    with io.StringIO() as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(arguments)
        return code, said.getvalue()


if __name__ == "__main__":
    json.dump([call(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
