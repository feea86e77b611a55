"""The command `fleetprof`: what a person uses in a terminal."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import TypeAlias

from fleetprof import __version__
from fleetprof.errors import FleetprofError
from fleetprof.profile_types import SELECTIONS
from query_ui.terminal.alerts import add_alerts_options
from query_ui.terminal.client import (
    SERVER_VARIABLE,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
    default_server,
)
from query_ui.terminal.commands import FORMATS, run_labels, run_query, run_top
from query_ui.terminal.diff import add_diff_options, run_diff
from query_ui.terminal.hosts import run_hosts
from query_ui.terminal.source import run_source
from query_ui.terminal.status import run_status

_EXAMPLE = "example: fleetprof top --from now-15m 'service=\"checkout\"'"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code: 0, 2 for wrong input, 3 for what is away."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    texts = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names of functions in any script, terminals in any locale
    given = create_parser(next((text for text in texts if not text.startswith("-")), "")).parse_args(texts)
    try:
        code: int = given.run(given)
        sys.stdout.flush()
        return code
    except FleetprofError as error:
        print(f"fleetprof: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def create_parser(command: str = "") -> argparse.ArgumentParser:
    """All subcommands and their options; those of `up` only when it is the `command`."""
    about = "Continuous profiles of a fleet."
    parser = argparse.ArgumentParser(prog="fleetprof", description=about, epilog=_EXAMPLE)
    parser.add_argument("--version", action="version", version=f"fleetprof {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_up(commands, chosen=command == "up")
    _add_top(commands)
    _add_query(commands)
    _add_source(commands)
    _add_labels(commands)
    _add_hosts(commands)
    _add_status(commands)
    _add_diff(commands)
    _add_alerts(commands)
    _add_simulate(commands, chosen=command == "simulate")
    return parser


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_up(commands: Commands, chosen: bool) -> None:
    """The whole collector stands behind `up`, so it is only loaded when `up` is `chosen`."""
    up = commands.add_parser("up", help="start agent, collector and UI on this machine")
    if chosen:
        from query_ui.up import add_up_options, run_up

        add_up_options(up)
        up.set_defaults(run=run_up)


def _add_top(commands: Commands) -> None:
    top = commands.add_parser("top", help="functions with the most time", epilog=_EXAMPLE)
    _add_question(top, limit=20)
    _add_type(top)
    top.add_argument("--sort", choices=("self", "total"), default="self", help="default: self")
    top.set_defaults(run=run_top)


def _add_query(commands: Commands) -> None:
    query = commands.add_parser("query", help="a profile, as a call tree or for other tools", epilog=_EXAMPLE)
    _add_question(query, limit=60)
    _add_type(query)
    query.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    query.add_argument("-o", "--output", metavar="FILE", help="write to a file")
    query.set_defaults(run=run_query)


def _add_source(commands: Commands) -> None:
    example = "example: fleetprof source 'parse_headers' 'service=\"checkout\"'"
    source = commands.add_parser("source", help="a function by line of source, with its time", epilog=example)
    source.add_argument("function", metavar="FUNCTION", help="whole name, as `fleetprof top` prints it")
    _add_question(source, limit=0, limited="lines with time, the heaviest; 0: whole passages")
    source.add_argument("--service", default="", help="only of this service; the same as in SELECTOR")
    source.add_argument(
        "--mapping", default="", metavar="FILE", help="file that it is in, where several have it"
    )
    source.add_argument(
        "--build", default="", metavar="ID", help="build id (default: the one with most time)"
    )
    source.add_argument("--json", action="store_true", help="print JSON")
    source.set_defaults(run=run_source)


def _add_labels(commands: Commands) -> None:
    labels = commands.add_parser("labels", help="names of labels, or values of one")
    labels.add_argument("name", nargs="?", default="", metavar="NAME", help="label whose values to print")
    labels.add_argument("--selector", default="", help="only of series that match")
    _add_server(labels)
    _add_range(labels)
    labels.add_argument("--limit", type=int, default=1000, help="at most so many values (default: 1000)")
    labels.set_defaults(run=run_labels)


def _add_diff(commands: Commands) -> None:
    example = 'example: fleetprof diff \'service="shop",version="1"\' \'service="shop",version="2"\''
    diff = commands.add_parser("diff", help="what changed from one selection to another", epilog=example)
    add_diff_options(diff)
    _add_server(diff)
    _add_range(diff)
    _add_type(diff)
    diff.set_defaults(run=run_diff)


def _add_alerts(commands: Commands) -> None:
    alerts = commands.add_parser("alerts", help="what fires, silences, accepting a new baseline")
    add_alerts_options(alerts, _add_server)


def _add_status(commands: Commands) -> None:
    status = commands.add_parser("status", help="the collector's disk: what is free, which days were dropped")
    _add_server(status)
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=run_status)


def _add_simulate(commands: Commands, chosen: bool) -> None:
    """Like `up`, it stands on the whole product."""
    simulate = commands.add_parser("simulate", help="send the profiles of an invented fleet to a collector")
    if chosen:
        from query_ui.simulate.command import add_simulate_options, run_simulate

        add_simulate_options(simulate)
        simulate.set_defaults(run=run_simulate)


def _add_hosts(commands: Commands) -> None:
    hosts = commands.add_parser("hosts", help="the fleet's hosts: what runs there and what is wrong")
    hosts.add_argument("name", nargs="?", default="", metavar="NAME", help="only hosts whose name holds this")
    _add_server(hosts)
    _add_range(hosts)
    hosts.add_argument("--limit", type=int, default=100, help="at most so many hosts (default: 100)")
    hosts.add_argument("--json", action="store_true", help="print JSON")
    hosts.set_defaults(run=run_hosts)


def _add_question(parser: argparse.ArgumentParser, limit: int, limited: str = "lines") -> None:
    parser.add_argument("selector", nargs="?", default="", metavar="SELECTOR", help='e.g. service="checkout"')
    _add_server(parser)
    _add_range(parser)
    parser.add_argument(
        "--limit", type=int, default=limit, help=f"at most so many {limited} (default: {limit})"
    )


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        default=default_server(),
        metavar="URL",
        help=f"fleetprof server (environment: {SERVER_VARIABLE}; default: %(default)s)",
    )
    parser.add_argument(
        "--token-file", metavar="FILE",
        help=f"file with a token, where the server wants one (environment: {TOKEN_FILE_VARIABLE})",
    )  # fmt: skip
    parser.add_argument(
        "--token", metavar="TOKEN",
        help=f"the token itself: others on this machine can read it here; better {TOKEN_VARIABLE} or a file",
    )  # fmt: skip


def _add_range(parser: argparse.ArgumentParser) -> None:
    start = "now-15m, 2026-11-19T09:00:00Z or Unix seconds"
    parser.add_argument(
        "--from", dest="start", default="now-15m", metavar="TIME", help=f"{start} (default: now-15m)"
    )
    parser.add_argument(
        "--to", dest="end", default="now", metavar="TIME", help="end, excluded (default: now)"
    )


def _add_type(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--type", default="cpu", metavar="TYPE", help=f"{', '.join(SELECTIONS)} (default: cpu)"
    )


if __name__ == "__main__":
    main()
