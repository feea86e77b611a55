"""The command `fleetprof-collector token create | list | revoke`. It works while the collector runs."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from collector.text_table import print_table
from collector.tokens.book import FILE, TokenBook
from collector.tokens.token import Scope
from fleetprof.errors import FleetprofError, InputError
from fleetprof.setting_kinds import parse_duration_s
from fleetprof.tls import day

Run = Callable[[argparse.Namespace, Path], int]
"""A subcommand: its options and the data folder."""


def add_token_options(token: argparse.ArgumentParser) -> Sequence[argparse.ArgumentParser]:
    """Declare the actions; returns their parsers, each with its `run_token`."""
    actions = token.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="Make a token and print it: once, and never again.")
    create.add_argument("name", metavar="NAME", help="What it is for, such as agents-berlin.")
    create.add_argument(
        "--scope", action="append", choices=[str(scope) for scope in Scope], required=True,
        help="ingest: push profiles; read: pages and API; admin: all of it. May be given several times.",
    )  # fmt: skip
    create.add_argument(
        "--expires", metavar="TIME", help="How long it is good for, such as 90d; else for ever."
    )
    create.add_argument(
        "-o", "--output", metavar="FILE", type=Path,
        help="Write the token to a new file that only you can read, instead of printing it.",
    )  # fmt: skip
    create.set_defaults(run_token=_create)
    listing = actions.add_parser("list", help="Tell which tokens there are, never the tokens themselves.")
    listing.set_defaults(run_token=_list)
    revoke = actions.add_parser("revoke", help="End a token; within seconds it opens nothing.")
    revoke.add_argument("which", metavar="NAME|ID", help="As `list` shows it.")
    revoke.set_defaults(run_token=_revoke)
    return create, listing, revoke


def run_token(options: argparse.Namespace, data: Path) -> int:
    """Run the chosen action on the tokens of a data folder; raises InputError, UnavailableError."""
    run: Run = options.run_token
    return run(options, data)


@contextmanager
def _book(data: Path) -> Iterator[TokenBook]:
    book = TokenBook(data)
    try:
        yield book
    finally:
        book.close()


def _create(options: argparse.Namespace, data: Path) -> int:
    expires_s = _expiry_s(options.expires) if options.expires else None
    with _book(data) as book:
        if options.output:
            _make_file(options.output)
            try:
                text = book.create(options.name, map(Scope, options.scope), expires_s)
            except FleetprofError:
                options.output.unlink()
                raise
            options.output.write_text(text + "\n")
            print(f"Wrote the token to {options.output}.", file=sys.stderr)
        else:
            print(book.create(options.name, map(Scope, options.scope), expires_s), flush=True)
            print(
                "This is shown once: only its SHA-256 is kept. Put it in a file (token_file).",
                file=sys.stderr,
            )
    return 0


def _expiry_s(text: str) -> int:
    try:
        return int(time.time() + parse_duration_s(text))
    except ValueError as error:
        raise InputError(f"--expires {text} {error}.", "Example: --expires 90d.") from None


def _make_file(path: Path) -> None:
    try:
        path.touch(0o600, exist_ok=False)
    except OSError as error:
        raise InputError(f"Cannot make {path}: {error.strerror}.", "Name a new file with -o.") from None


def _list(options: argparse.Namespace, data: Path) -> int:
    if not (data / FILE).exists():
        print("There are no tokens.")
        return 0
    with _book(data) as book:
        tokens = book.all()
    now_s = time.time()
    rows = [("ID", "NAME", "SCOPES", "MADE", "STATE")]
    rows += [
        (token.id, token.name, ",".join(sorted(token.scopes)), day(token.created_s), token.state(now_s))
        for token in tokens
    ]
    print_table(rows)
    return 0


def _revoke(options: argparse.Namespace, data: Path) -> int:
    with _book(data) as book:
        token = book.revoke(options.which)
    print(f'Revoked the token "{token.name}" ({token.id}).')
    return 0
