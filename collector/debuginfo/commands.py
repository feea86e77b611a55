"""The command `fleetprof-collector debuginfo upload | list | remove`.

It asks a running collector with --to, and else works on the data folder, whether a collector runs on it or not.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from collector.config import CollectorConfig
from collector.debuginfo.places import TOKEN_VARIABLE, LocalFolder, Place, Uploaded, running_collector
from collector.text_table import print_table
from fleetprof.errors import InputError
from fleetprof.tls import TlsFiles


def add_debuginfo_options(command: argparse.ArgumentParser) -> Sequence[argparse.ArgumentParser]:
    """Declare the actions; returns their parsers, each with its `run_debuginfo`."""
    actions = command.add_subparsers(required=True, metavar="ACTION")
    upload = actions.add_parser("upload", help="Keep executables, libraries or debug files, by build id.")
    upload.add_argument(
        "files", metavar="FILE", type=Path, nargs="+",
        help="As it was before `strip`, or its separate debug file.",
    )  # fmt: skip
    upload.set_defaults(run_debuginfo=_upload)
    listing = actions.add_parser("list", help="Tell which files are kept.")
    listing.set_defaults(run_debuginfo=_list)
    remove = actions.add_parser("remove", help="Remove a file; names found with it stay.")
    remove.add_argument("build_id", metavar="BUILDID", help="As `list` shows it.")
    remove.set_defaults(run_debuginfo=_remove)
    for action in (upload, listing, remove):
        action.add_argument(
            "--to", metavar="HOST:PORT", help="A running collector, rather than the data folder."
        )
        action.add_argument(
            "--token-file", metavar="FILE", type=Path,
            help=f"File with a token of scope admin; else ${TOKEN_VARIABLE}, where the collector wants one.",
        )  # fmt: skip
        action.add_argument(
            "--ca", metavar="FILE", type=Path, help="Whom to trust, where the collector has TLS."
        )
        action.add_argument(
            "--certificate", metavar="FILE", type=Path, help="Where it asks for one, with --key."
        )
        action.add_argument("--key", metavar="FILE", type=Path, help="Private key of --certificate.")
    return upload, listing, remove


def run_debuginfo(options: argparse.Namespace, config: CollectorConfig) -> int:
    """Run the chosen action; raises InputError, UnavailableError."""
    run: Callable[[argparse.Namespace, Place], int] = options.run_debuginfo
    if not options.to:
        return run(options, LocalFolder(config))
    files = TlsFiles(options.ca, options.certificate, options.key)
    with running_collector(options.to, files, options.token_file) as place:
        return run(options, place)


def _upload(options: argparse.Namespace, place: Place) -> int:
    failed = 0
    for path in options.files:
        try:
            print(f"{path}: {_upload_one(path, place)}", flush=True)
        except InputError as error:
            failed += 1
            print(f"{path}: {error}", flush=True)
    return InputError.exit_code if failed else 0


def _upload_one(path: Path, place: Place) -> str:
    try:
        with path.open("rb") as file:
            answer = place.upload(path.name, os.fstat(file.fileno()).st_size, file)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}.") from error
    told = answer.file.build_id
    if answer.status == Uploaded.STATUS_HAS_BETTER:
        return f"{told} is there with lines and inlined functions; this one has only symbols."
    told += "" if answer.file.has_lines else " (only symbols: no lines, no inlined functions)"
    for build_id in answer.evicted:
        told += f"\n  {build_id} gave way: debuginfo_size is reached."
    return told


def _list(options: argparse.Namespace, place: Place) -> int:
    found = place.list()
    rows = [("BUILD ID", "SIZE", "HAS", "UPLOADED", "USED", "FROM", "NAME")]
    rows += [
        (file.build_id, _size(file.size), "lines" if file.has_lines else "symbols",
         _day(file.uploaded_unix_ns), _day(file.used_unix_ns), file.origin, f"{file.name} {file.problem}".strip())
        for file in found.files
    ]  # fmt: skip
    print_table(rows)
    print(f"{len(found.files)} files; {_size(found.used_bytes)} of {_size(found.limit_bytes)}.")
    return 0


def _remove(options: argparse.Namespace, place: Place) -> int:
    if not place.remove(options.build_id.lower()):
        raise InputError(f"There is no debug file of build id {options.build_id}.", "See `debuginfo list`.")
    print(f"Removed {options.build_id}.")
    return 0


def _size(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >> 20 else f"{size / (1 << 10):.1f} KiB"


def _day(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")
