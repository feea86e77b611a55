"""`fleetprof-collector sources upload|list|remove`: the texts that stand beside values by line."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from collector.config import CollectorConfig
from collector.sources.archives import MAX_ARCHIVE_BYTES, Of
from collector.sources.assemble import open_archives
from collector.sources.unpack import source_files
from collector.text_table import print_table
from fleetprof.errors import InputError

_EXAMPLE = "example: fleetprof-collector sources upload src.zip --service checkout --version 2.31.0"


def add_source_options(parser: argparse.ArgumentParser) -> Sequence[argparse.ArgumentParser]:
    """Add the actions; each has `action` set."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    upload = actions.add_parser(
        "upload", help="Keep the source files of an archive (.zip, .tar, .tar.gz).", epilog=_EXAMPLE
    )
    upload.add_argument(
        "file", metavar="FILE", type=Path, help="The archive, such as `git archive` makes it."
    )
    listing = actions.add_parser("list", help="Print what is kept.")
    remove = actions.add_parser("remove", help="Remove what is kept of a build, or of a service's version.")
    for action in (upload, remove):
        action.add_argument("--service", default="", help="The service that is built of it.")
        action.add_argument("--version", default="", help="Its version; without, sources of any version.")
        action.add_argument("--build-id", default="", metavar="ID", help="In place of these: one build.")
    upload.set_defaults(action=_upload)
    listing.set_defaults(action=_list)
    remove.set_defaults(action=_remove)
    return upload, listing, remove


def run_sources(options: argparse.Namespace, config: CollectorConfig) -> int:
    """Run an action on the data folder; a collector that runs on it sees what changes at once."""
    return int(options.action(options, config.data))


def _upload(options: argparse.Namespace, data: Path) -> int:
    path: Path = options.file
    try:
        size = path.stat().st_size
        if size > MAX_ARCHIVE_BYTES:
            raise InputError(
                f"{path} has {size >> 20} MiB; at most {MAX_ARCHIVE_BYTES >> 20} are taken.",
                "Pack only the folders with sources.",
            )
        with path.open("rb") as file:
            kept = open_archives(data).keep(_of(options), path.name, source_files(file))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check its name and rights.") from error
    print(f"{kept.of.words}: {kept.files} files kept ({kept.size} bytes).")
    return 0


def _list(options: argparse.Namespace, data: Path) -> int:
    rows = [("OF", "FILES", "BYTES", "UPLOADED", "NAME")]
    for one in open_archives(data).all():
        when = datetime.fromtimestamp(one.uploaded_s, UTC)
        rows.append((one.of.words, str(one.files), str(one.size), f"{when:%Y-%m-%d %H:%M}", one.name))
    print_table(rows)
    return 0


def _remove(options: argparse.Namespace, data: Path) -> int:
    of = _of(options)
    if not open_archives(data).remove(of):
        raise InputError(f"No sources of {of.words} are kept.", "See: fleetprof-collector sources list.")
    print(f"{of.words}: removed.")
    return 0


def _of(options: argparse.Namespace) -> Of:
    return Of(options.build_id, options.service, options.version)
