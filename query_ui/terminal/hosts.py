"""`fleetprof hosts`: the hosts of a fleet in the terminal, the worst first."""

import argparse
import json
import sys
from typing import Any

from query_ui.terminal.client import client_of
from query_ui.terminal.status import print_notices
from query_ui.terminal.tables import print_table, printable

_BLOCKS = " ▁▂▃▄▅▆▇█"
_HEADS = ("Health", "Cores", "CPUs", "Used", "Cost", "RSS", "24 h", "Agent", "Host")
_NO_DATA = "·"


def run_hosts(given: argparse.Namespace) -> int:
    """Print a line a host, then what is wrong; 0 also when something is."""
    client = client_of(given)
    answer = client.json("hosts", {"from": given.start, "to": given.end})
    if given.json:
        print(json.dumps(answer, indent=2))
        return 0
    print_notices(client)
    hosts = [host for host in answer["hosts"] if given.name in host["host"]]
    if not hosts:
        print("No host was heard within 7 days." if not answer["hosts"] else "No such host.", file=sys.stderr)
        return 0
    print(f"{answer['reporting']} hosts report, {answer['silent']} are silent.\n")
    print_table(sys.stdout, _HEADS, [_line(host) for host in hosts[: given.limit]], left=len(_HEADS) - 1)
    if len(hosts) > given.limit:
        print(f"… and {len(hosts) - given.limit} more (--limit)")
    _print_problems(hosts[: given.limit])
    return 0


def _line(host: dict[str, Any]) -> tuple[str, ...]:
    worst = next((problem["severity"] for problem in host["problems"]), "ok")
    share = host["cost"]["share"]
    return (
        "silent" if host["silent"] else "ok" if worst == "note" else worst,
        f"{host['cores']:.2f}",
        str(host["cpus"] or _NO_DATA),
        _percent(host["utilisation"], 0),
        _percent(share, 2),
        f"{host['cost']['rss_bytes'] / 2**20:.0f} MiB" if host["cost"]["rss_bytes"] else _NO_DATA,
        "".join(_cell(cell) for cell in host["completeness"]),
        host["agent_version"] or _NO_DATA,
        host["host"],
    )


def _percent(share: float | None, digits: int) -> str:
    return _NO_DATA if share is None else f"{100 * share:.{digits}f} %"


def _cell(share: float | None) -> str:
    """A block as high as the share of an hour that arrived; a dot where nothing was expected."""
    return _NO_DATA if share is None else _BLOCKS[min(int(share * 8 + 0.001), 8)]


def _print_problems(hosts: list[dict[str, Any]]) -> None:
    for host in hosts:
        for place, problem in enumerate(host["problems"]):
            if not place:
                print(f"\n{printable(host['host'])}")
            print(f"  {problem['severity']:<7}  {printable(problem['text'])}")
