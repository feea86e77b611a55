"""`fleetprof status`: what people should know of the collector, and how full its disk is."""

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from fleetprof.setting_kinds import about_bytes
from query_ui.terminal.client import Client, client_of


def run_status(given: argparse.Namespace) -> int:
    """Print it; 1 while no windows are taken."""
    answer = client_of(given).json("status", {})
    if given.json:
        print(json.dumps(answer, indent=2))
    else:
        _print(answer)
    return 1 if answer["disk"] and answer["disk"]["refusal"] else 0


def print_notices(client: Client) -> None:
    """Print what people should know before they read anything else; nothing when all is well."""
    for notice in client.json("status", {})["notices"]:
        print(f"{notice['severity']}: {notice['title']} {notice['text']}\n")


def _print(answer: dict[str, Any]) -> None:
    for notice in answer["notices"]:
        print(f"{notice['severity']}: {notice['title']} {notice['text']}")
    disk = answer["disk"]
    if disk is None:
        print("Profiles are in a ClickHouse server, whose disk is its own.")
        return
    if not answer["notices"]:
        print("Windows are taken.")
    sizes = [about_bytes(disk[name]) for name in ("free_bytes", "total_bytes", "reserve_bytes")]
    print("Disk: {} of {} free, {} are kept free.".format(*sizes))
    for day in disk["dropped"]:
        when = datetime.fromtimestamp(day["at_s"], UTC)
        print(f"Dropped for want of room: {day['day']}, on {when:%Y-%m-%d %H:%M} UTC.")
