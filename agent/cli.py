"""The command `fleetprof-agent`: run | record | doctor."""

import argparse
import logging
import os
import secrets
import signal
import sys
from collections.abc import Sequence

from agent import __doc__ as about
from agent.config import DEFAULT_FILE, TABLE, AgentConfig
from fleetprof import __version__
from fleetprof.errors import FleetprofError
from fleetprof.settings import PRINT_FLAG, Loaded, add_flags, load_settings

log = logging.getLogger("fleetprof.agent")

FLUSH_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors a user can mend are one message without a traceback."""
    options = _parser().parse_args(arguments)
    try:
        loaded = load_settings(TABLE, AgentConfig, vars(options), os.environ, DEFAULT_FILE)
        if getattr(options, PRINT_FLAG, False):
            print(loaded.as_toml())
            return 0
        return int(options.command(options, loaded))
    except FleetprofError as error:
        print(f"fleetprof-agent: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fleetprof-agent", description=about)
    parser.add_argument("--version", action="version", version=f"fleetprof-agent {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="Sample this host and push to a collector, until stopped.")
    run.add_argument("--die-with-parent", action="store_true", help=argparse.SUPPRESS)
    run.set_defaults(command=_run)
    record = commands.add_parser("record", help="Sample for a while into a file, without a collector.")
    _add_record_options(record)
    doctor = commands.add_parser(
        "doctor", help="Tell what this host offers to the agent, and what is missing."
    )
    doctor.add_argument("--json", action="store_true", help="Print JSON.")
    doctor.set_defaults(command=_doctor)
    for command in (run, record, doctor):
        add_flags(command, TABLE)
    return parser


def _add_record_options(record: argparse.ArgumentParser) -> None:
    record.add_argument("--duration", metavar="TIME", default="10s", help="How long, such as 10, 10s or 2m.")
    record.add_argument("-o", "--output", metavar="FILE", default="fleetprof.pb.gz",
                        help="*.pb.gz (pprof) or *.folded; default fleetprof.pb.gz.")  # fmt: skip
    record.add_argument("-p", "--pid", type=int, action="append", default=[], help="Only this process.")
    record.add_argument("--type", default="cpu", help="cpu, runq, offcpu or wall; default cpu.")
    record.set_defaults(command=_record)


def _run(options: argparse.Namespace, loaded: Loaded[AgentConfig]) -> int:
    from agent import log as log_output
    from agent.agent_id import agent_id
    from agent.assemble import Assembly
    from agent.connection import Connection
    from agent.memory import limit_hoarding
    from agent.parent import die_with_parent
    from agent.push import Sender
    from agent.reporting import Reporting
    from agent.token import Token
    from fleetprof.garbage import search_rarely

    config = loaded.config
    log_output.set_up(config.log_level)
    if options.die_with_parent:
        die_with_parent()
    limit_hoarding()
    token = Token(config.token, config.token_file)
    connection = Connection(config.collector, config.tls(), config.tls_server_name, token)
    with Assembly(config) as assembly:
        parts = assembly.parts
        host = parts.host_labels["host"]
        sender = Sender(agent_id(config.state_dir, host), secrets.randbits(63) + 1, host)
        reporting = Reporting(connection, sender, loaded, parts.backend, assembly.sightings)
        pipeline = reporting.pipeline(parts)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: pipeline.stop())
        log.info(
            "Sampling %d CPUs at %d Hz with %s as host %s; pushing to %s%s.",
            parts.cpu_count, config.frequency_hz, parts.backend.name, sender.host, config.collector,
            " over TLS" if config.tls().on else "",
        )  # fmt: skip
        search_rarely()
        pipeline.run()
    lost = reporting.close(FLUSH_S)
    if reporting.on_disk:
        log.info("Ended; %d windows wait on disk for the next start.", reporting.on_disk)
    if lost:
        log.warning("Ended with %d windows that the collector did not take.", lost)
    return 0


def _record(options: argparse.Namespace, loaded: Loaded[AgentConfig]) -> int:
    from agent import log as log_output
    from agent.record import RecordRequest, record

    log_output.set_up(loaded.config.log_level)
    request = RecordRequest.parse(options.duration, options.output, options.type, options.pid)
    print(record(loaded.config, request), file=sys.stderr)
    return 0


def _doctor(options: argparse.Namespace, loaded: Loaded[AgentConfig]) -> int:
    import json

    from agent.doctor import render, report

    found = report(loaded.config)
    print(json.dumps(found.as_json(), indent=2) if options.json else render(found))
    return 0 if found.works else 1
