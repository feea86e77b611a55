"""`fleetprof simulate`: sends what a fleet of invented hosts would, to size a collector or to try the product.

Without --server it starts a collector of its own, and tells in the end what the fleet's profiles take on disk.
"""

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from agent.connection import Connection
from agent.token import Token
from fleetprof.errors import InputError
from fleetprof.setting_kinds import format_bytes, parse_address
from fleetprof.tls import TlsFiles
from query_ui.simulate.agents import Agents
from query_ui.simulate.fleet import WINDOW_S, Fleet, Plan, make_fleet
from query_ui.simulate.history import send_history
from query_ui.simulate.live import Live
from query_ui.simulate.own_collector import OwnCollector, TableSize, own_collector
from query_ui.simulate.presence import Presence
from query_ui.simulate.push import IN_FLIGHT, Pusher
from query_ui.simulate.totals import Totals

MAX_HISTORY_H = 167.0
"""Collectors take windows of up to 7 days ago, unless told otherwise; an hour is for the sending."""
PROGRESS_S = 5.0


def add_simulate_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `fleetprof simulate`."""
    parser.add_argument("--hosts", type=int, default=50, metavar="N", help="default: 50")
    parser.add_argument("--services", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--hours", type=float, default=1.0, metavar="N", help="default: 1")
    parser.add_argument(
        "--rate", choices=("max", "realtime"), default="max",
        help="max: the last HOURS as fast as possible; realtime: from now on, as agents would (default: max)",
    )  # fmt: skip
    parser.add_argument("--server", metavar="HOST:PORT", help="a collector; default: one of its own")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="data folder of its own collector (default: a temporary one)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed is another fleet (default: 0)"
    )
    parser.add_argument(
        "--in-flight",
        type=int,
        default=IN_FLIGHT,
        metavar="N",
        help=f"most pushes under way (default: {IN_FLIGHT})",
    )
    parser.add_argument("--tls-ca", type=Path, metavar="FILE", help="the collector's authority; turns TLS on")
    parser.add_argument("--tls-certificate", type=Path, metavar="FILE", help="the agents' certificate")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token to push with")
    parser.add_argument("--json", action="store_true", help="print what was sent as JSON")


def run_simulate(options: argparse.Namespace) -> int:
    """Make the fleet, send it, print what was sent. Returns the exit code: 1 when a window was refused."""
    plan = _plan(options, time.time())
    with ExitStack() as stack:
        own = None
        if options.server is None:
            folder = options.data or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="fleetprof-"))
            )
            own = stack.enter_context(own_collector(folder))
            _say(f"A collector of its own runs at {own.address}, data in {folder}.")
        connection = _connection(options, own)
        stack.callback(connection.close)
        _say(f"Inventing {plan.hosts} hosts and {plan.services} services …")
        fleet, began_s = make_fleet(plan), time.monotonic()
        cpu_s = time.process_time()
        totals = _send(fleet, connection, options)
        seconds, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
        sizes = own.end(sizes=True) if own else []
    found = _result(fleet, totals, (seconds, cpu_s), sizes)
    print(json.dumps(found, indent=2) if options.json else _text(found))
    return 1 if totals.refused else 0


def _plan(options: argparse.Namespace, now_s: float) -> Plan:
    most_h = MAX_HISTORY_H if options.rate == "max" else 24 * 365
    for name, least, most in (("hosts", 1, 100_000), ("services", 1, 1000), ("hours", 0.005, most_h)):
        if not least <= getattr(options, name) <= most:
            raise InputError(
                f"--{name} {getattr(options, name)} is out of range.", f"From {least} to {most:g}."
            )
    if options.server and options.data:
        raise InputError(
            "--data is for a collector of its own, --server is another one.", "Give one of them."
        )
    now_s, length_s = int(now_s) // WINDOW_S * WINDOW_S, max(int(options.hours * 360), 1) * WINDOW_S
    start_s = now_s - length_s if options.rate == "max" else now_s
    return Plan(options.hosts, options.services, start_s, start_s + length_s, options.seed)


def _connection(options: argparse.Namespace, own: OwnCollector | None) -> Connection:
    if own:
        return Connection(own.address)
    try:
        address = parse_address(options.server)
    except ValueError as error:
        raise InputError(f"--server {options.server} {error}.", "Write for example 127.0.0.1:4040.") from None
    files = TlsFiles(options.tls_ca, options.tls_certificate, options.tls_key)
    return Connection(address, files, token=Token("", options.token_file))


def _send(fleet: Fleet, connection: Connection, options: argparse.Namespace) -> Totals:
    totals, agents = Totals(), Agents(fleet, long_running=options.rate == "max")
    pusher = Pusher(connection, agents, totals, options.in_flight)
    presence, progress = Presence(fleet, connection, totals), _progress(fleet.plan, totals)
    if options.rate == "max":
        send_history(fleet, pusher, agents, totals, progress)
        presence.introduce(fleet.plan.end_s - 1)
    else:
        stopping = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: stopping.set())
        Live(fleet, pusher, agents, totals).run(presence, stopping, progress)
    return totals


def _progress(plan: Plan, totals: Totals) -> Callable[[int], None]:
    """Says every few seconds how far it is."""
    began_s = last_s = time.monotonic()
    last_rows = 0

    def progress(reached_s: int) -> None:
        nonlocal last_s, last_rows
        now_s = time.monotonic()
        if now_s - last_s < PROGRESS_S:
            return
        rate = (totals.rows - last_rows) / (now_s - last_s)
        last_s, last_rows = now_s, totals.rows
        done = min((reached_s - plan.start_s) / (plan.end_s - plan.start_s), 1.0)
        _say(
            f"{now_s - began_s:5.0f} s: {done:4.0%}, {totals.windows} windows, {totals.rows} rows,"
            f" {rate:,.0f} rows/s, {totals.again} pushes failed and made again"
        )

    return progress


def _result(
    fleet: Fleet, totals: Totals, took_s: tuple[float, float], sizes: list[TableSize]
) -> dict[str, Any]:
    plan = fleet.plan
    found = {
        "hosts": plan.hosts, "services": plan.services, "seed": plan.seed,
        "from_s": plan.start_s, "to_s": plan.end_s, "seconds": round(took_s[0], 1),
        "cpu_seconds": round(took_s[1], 2),
        **totals.as_json(),
        "releases": [
            {"service": each.name, "version": release.version, "from_s": release.start_s, "grown": release.grown}
            for each in fleet.services for release in each.releases[1:]
        ],
    }  # fmt: skip
    if sizes:
        found["tables"] = {size.name: {"rows": size.rows, "bytes": size.size_bytes} for size in sizes}
    return found


def _text(found: dict[str, Any]) -> str:
    windows, rows, seconds = found["windows"], found["rows"], found["seconds"] or 0.1
    lines = [
        f"Sent {windows} windows of {found['hosts']} hosts and {found['services']} services in {seconds} s:"
        f" {rows} rows, {rows / seconds:,.0f} a second, {found['bytes_sent'] / max(rows, 1):.1f} bytes a row;"
        f" this program used {found['cpu_seconds']} s of CPU.",
        f"{found['late_windows']} came late; {found['repeated_windows']} were sent twice,"
        f" {found['duplicate_answers']} answered as duplicates; {found['lacking_answers']} lacked definitions;"
        f" {found['failed_pushes']} pushes failed and were made again;"
        f" refused: {found['refused_windows'] or 'none'}.",
        "",
        f"{'type':8}{'seconds':>18}{'captures':>16}",
    ]
    for name, sums in found["types"].items():
        lines.append(f"{name:8}{sums['value_ns'] / 1e9:18.9f}{sums['captures']:16}")
    for each in found["releases"]:
        grown = f", {each['grown']} became slower" if each["grown"] else ""
        at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(each["from_s"]))
        lines.append(f"release {each['service']} {each['version']} from {at} UTC{grown}")
    return "\n".join([*lines, *_size_lines(found)])


def _size_lines(found: dict[str, Any]) -> list[str]:
    tables = found.get("tables")
    if not tables:
        return []
    total = sum(each["bytes"] for each in tables.values())
    host_days = found["windows"] * WINDOW_S / 86400
    lines = ["", f"{'table':12}{'rows':>14}{'on disk':>12}{'bytes a row':>14}"]
    for name, each in tables.items():
        share = each["bytes"] / max(each["rows"], 1)
        lines.append(f"{name:12}{each['rows']:14}{format_bytes(each['bytes']):>12}{share:14.2f}")
    samples, definitions = tables.get("samples", {"bytes": 0, "rows": 1}), 0
    for name in ("stacks", "frames"):
        definitions += tables.get(name, {"bytes": 0})["bytes"]
    lines.append(
        f"{samples['bytes'] / max(samples['rows'], 1):.2f} bytes a sample row;"
        f" {(total - definitions) / max(host_days, 1e-9) / 1e6:.2f} MB a host and day, and"
        f" {definitions / 1e6:.1f} MB once for stacks and frames."
    )
    return lines


def _say(text: str) -> None:
    print(f"fleetprof: {text}", file=sys.stderr, flush=True)
