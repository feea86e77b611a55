"""Receives profiles from agents, and keeps them:

fleetprof-collector run | migrate | check | backup | restore | rules | certificates | token
"""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from collector.alerts.rule_file import load_rules
from collector.certificates import AGENT, CA, DEFAULT_DAYS, SERVER, write_certificates
from collector.collector import Collector
from collector.config import DEFAULT_FILE, TABLE, CollectorConfig
from collector.debuginfo.commands import add_debuginfo_options, run_debuginfo
from collector.ingest.journal import JOURNAL, Journal
from collector.ingest.left_journal import set_aside
from collector.ingest.writer import finish
from collector.sources.commands import add_source_options, run_sources
from collector.store.consistency import differences
from collector.store.errors import StoreTaken
from collector.store.folder_lock import FolderLock, collector_id
from collector.store.interface import Store
from collector.store.migrate import migrate, plan
from collector.store.open import open_store, shown
from collector.tokens.commands import add_token_options, run_token
from fleetprof import __version__
from fleetprof.errors import FleetprofError, UnavailableError
from fleetprof.garbage import search_rarely
from fleetprof.settings import PRINT_FLAG, Loaded, add_flags, load_settings

log = logging.getLogger("fleetprof.collector")

_POLL_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors a user can mend are one message without a traceback."""
    options = _parser().parse_args(arguments)
    try:
        if getattr(options, "certificates", False):
            return _certificates(options)
        loaded = _load(options)
        if getattr(options, PRINT_FLAG, False):
            print(loaded.as_toml())
            return 0
        level = loaded.config.log_level.upper()
        logging.basicConfig(stream=sys.stderr, format="fleetprof-collector: %(message)s", level=level)
        return int(options.command(options, loaded.config))
    except FleetprofError as error:
        print(f"fleetprof-collector: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _load(options: argparse.Namespace) -> Loaded[CollectorConfig]:
    return load_settings(TABLE, CollectorConfig, vars(options), os.environ, DEFAULT_FILE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fleetprof-collector", description=__doc__)
    parser.add_argument("--version", action="version", version=f"fleetprof-collector {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="Take what agents push, until stopped.")
    run.set_defaults(command=_run)
    migration = commands.add_parser("migrate", help="Bring the store to this program's schema.")
    migration.add_argument("--dry-run", action="store_true", help="Only print the statements.")
    migration.set_defaults(command=_migrate)
    check = commands.add_parser("check", help="Compare the roll-ups with the samples.")
    check.set_defaults(command=_check)
    backup = commands.add_parser("backup", help="Write all that is kept to a folder, also while it runs.")
    backup.add_argument("folder", metavar="FOLDER", type=Path, help="A new folder to write the backup to.")
    how = backup.add_mutually_exclusive_group()
    how.add_argument("--since", metavar="BACKUP", type=Path,
                     help="An earlier backup: what has not changed is taken from there.")  # fmt: skip
    how.add_argument("--verify", action="store_true", help="Only check the backup in FOLDER.")
    backup.set_defaults(command=_backup)
    restore = commands.add_parser("restore", help="Fill an empty store from a backup.")
    restore.add_argument("folder", metavar="FOLDER", type=Path, help="A backup's folder.")
    restore.set_defaults(command=_restore)
    debuginfo = commands.add_parser("debuginfo", help="Keep debug files, which name frames without a name.")
    debug_actions = add_debuginfo_options(debuginfo)
    for action in debug_actions:
        action.set_defaults(command=run_debuginfo)
    sources = commands.add_parser("sources", help="Keep source files, for functions line by line.")
    for action in add_source_options(sources):
        action.set_defaults(command=run_sources)
        add_flags(action, TABLE)
    tokens = commands.add_parser("token", help="Make, list and revoke tokens.")
    actions = add_token_options(tokens)
    for action in actions:
        action.set_defaults(command=lambda options, config: run_token(options, config.data))
    for command in (*debug_actions, run, migration, check, backup, restore, _add_rules(commands), *actions):
        add_flags(command, TABLE)
    _add_certificates(commands)
    return parser


def _add_rules(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    rules = commands.add_parser("rules", help="Work with alert rules.")
    check = rules.add_subparsers(required=True, metavar="ACTION").add_parser(
        "check", help="Tell the first mistake in alert rules, or what they say."
    )
    check.add_argument("path", metavar="FILE|DIR", type=Path, help="A file of rules, or a folder of them.")
    check.set_defaults(command=_check_rules)
    return check


def _add_certificates(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser(
        "certificates", help="Make certificates for TLS: an authority, the collector's, the agents'."
    )
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="Folder to write them to.")
    command.add_argument(
        "--host", metavar="NAME|IP", action="append", required=True,
        help="A name or address by which agents reach the collector; may be given several times.",
    )  # fmt: skip
    command.add_argument("--days", metavar="N", type=int, default=DEFAULT_DAYS,
                         help=f"Days for which they are valid; default {DEFAULT_DAYS}.")  # fmt: skip
    command.add_argument(
        "--overwrite", action="store_true",
        help="Renew certificates that are there; the folder's authority stays.",
    )  # fmt: skip
    command.set_defaults(certificates=True)


def _run(options: argparse.Namespace, config: CollectorConfig) -> int:
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    reloading = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reloading.set())
    collector = Collector(config, stopping=stopping)
    try:
        collector.start()
        address = config.grpc._replace(port=collector.grpc_port)
        how = " over TLS" * config.tls().on
        log.info(
            "Taking profiles on %s%s, keeping them in %s.", address, how, shown(config.store or config.data)
        )
        search_rarely()
        while not stopping.wait(_POLL_S) and collector.alive:
            if reloading.is_set():
                reloading.clear()
                collector.reload(lambda: _load(options).config)
        failed = not collector.alive
    except FleetprofError:
        collector.stop()
        raise
    if not collector.stop():
        log.warning("Ended before all was stored; the rest is stored at the next start or sent again.")
    return 1 if failed else 0


def _check_rules(options: argparse.Namespace, config: CollectorConfig) -> int:
    rules = load_rules(options.path, config.alert_interval_s)
    for rule in rules.rules:
        receivers = ", ".join(rule.receivers) or "nobody is told"
        print(f"{rule.place}: {rule.kind} rule {rule.name}: {rule.scope_text} → {receivers}")
    print(f"{len(rules.rules)} rules and {len(rules.receivers)} receivers, no mistakes.")
    return 0


def _certificates(options: argparse.Namespace) -> int:
    files = write_certificates(options.out, options.host, options.days, options.overwrite)
    for path in files:
        print(path)
    print(
        f"""
On the collector:  tls_certificate = "{options.out / SERVER}.pem"
                   tls_key = "{options.out / SERVER}.key"
                   tls_client_ca = "{options.out / CA}.pem"     # takes only agents that show a certificate
On each agent:     tls_ca = "{CA}.pem"
                   tls_certificate = "{AGENT}.pem"
                   tls_key = "{AGENT}.key"
Keep {options.out / CA}.key off all of these hosts: it signs further certificates.""",
        file=sys.stderr,
    )
    return 0


def _migrate(options: argparse.Namespace, config: CollectorConfig) -> int:
    with _store(config, create=not options.dry_run) as store:
        steps = plan(store)
        if not options.dry_run:
            migrate(store)
    for step in steps:
        print(f"-- {step.name}" if options.dry_run else f"applied {step.name}")
        for statement in step.statements if options.dry_run else ():
            print(f"{statement};\n")
    if not steps:
        print("The schema is up to date.")
    return 0


def _check(options: argparse.Namespace, config: CollectorConfig) -> int:
    count = 0
    with _store(config) as store:
        migrate(store)
        _finish_journal(store, config)
        for found in differences(store):
            count += 1
            print(
                f"{found.table} hour={found.hour_s} service={found.service!r} type={found.type}"
                f" item={found.item}:"
                f" samples {found.samples}/{found.samples_captures},"
                f" roll-up {found.rollup}/{found.rollup_captures}"
            )
    print(f"{count} differences." if count else "The roll-ups equal the samples.")
    return 1 if count else 0


def _finish_journal(store: Store, config: CollectorConfig) -> None:
    """Store the roll-ups that a crash left for later, unless a collector writes to the store."""
    if not any((config.data / JOURNAL).glob("*.batch")):
        return
    try:
        lock = FolderLock(config.data) if config.store else None
    except UnavailableError:
        return  # the collector that has the folder does it itself
    try:
        store.own(collector_id(config.data), after_other=lambda: set_aside(config.data / JOURNAL))
        finish(store, Journal(config.data / JOURNAL))
    except StoreTaken:
        log.info("Another collector writes to the store: hours that lack roll-ups are left out.")
    finally:
        if lock:
            lock.release()


def _backup(options: argparse.Namespace, config: CollectorConfig) -> int:
    from collector.keeping.commands import run_backup, run_verify  # what reads Parquet takes long to load

    if options.verify:
        return run_verify(options.folder)
    return run_backup(options.folder, config, options.since)


def _restore(options: argparse.Namespace, config: CollectorConfig) -> int:
    from collector.keeping.commands import run_restore

    return run_restore(options.folder, config)


@contextmanager
def _store(config: CollectorConfig, create: bool = True) -> Iterator[Store]:
    """The store; with `create` a database that is missing on a server is made."""
    address = config.store or config.data
    store = open_store(address, config.store_memory_bytes, config.store_threads, create)
    try:
        yield store
    finally:
        store.close()
