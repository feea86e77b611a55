"""fleetprof alerts: what fires, what stands behind it, silences, and taking a new cost as the baseline."""

import argparse
import getpass
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from query_ui.terminal.client import client_of
from query_ui.terminal.tables import print_table, printable

Answer = dict[str, Any]
AddServer = Callable[[argparse.ArgumentParser], None]

_HOSTS_SHOWN = 12


def add_alerts_options(parser: argparse.ArgumentParser, add_server: AddServer) -> None:
    """Declare `alerts [list|show|accept|silence]`."""
    parser.set_defaults(run=run_list, state="open", limit=200, json=False)
    add_server(parser)
    actions = parser.add_subparsers(metavar="ACTION")
    _add(actions, "list", "alerts, open ones by default", run_list, add_server)
    shown = actions.choices["list"]
    shown.add_argument("--state", choices=("open", "ended", "all"), default="open", help="default: open")
    shown.add_argument("--limit", type=int, default=200, help="at most so many (default: 200)")
    show = _add(actions, "show", "one alert with its evidence", run_show, add_server)
    show.add_argument("id", metavar="ID")
    accept = _add(actions, "accept", "take the new cost as the baseline", run_accept, add_server)
    accept.add_argument("id", metavar="ID")
    accept.add_argument("--comment", default="", help="why")
    _add_author(accept)
    _add_silence(actions, add_server)


Actions = Any  # argparse's own type of subparsers is private


def _add_silence(actions: Actions, add_server: AddServer) -> None:
    silence = actions.add_parser("silence", help="notify nobody of matching alerts for a time")
    kinds = silence.add_subparsers(metavar="ACTION", required=True)
    _add(kinds, "list", "all silences", run_silences, add_server)
    add = _add(kinds, "add", "begin a silence", run_silence_add, add_server)
    add.add_argument("matchers", metavar="MATCHERS", help='labels of alerts, e.g. service="checkout"')
    add.add_argument("--for", dest="length", default="2h", metavar="TIME", help="its length (default: 2h)")
    add.add_argument("--comment", required=True, help="why")
    _add_author(add)
    end = _add(kinds, "end", "end a silence now", run_silence_end, add_server)
    end.add_argument("id", metavar="ID")


def _add(
    actions: Actions, name: str, text: str, run: Callable[[argparse.Namespace], int], add_server: AddServer
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text)
    parser.set_defaults(run=run)
    add_server(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_author(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--author", default=_user(), help="who (default: %(default)s)")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return ""


def run_list(given: argparse.Namespace) -> int:
    """Print alerts, a line each."""
    answer = client_of(given).json("alerts", {"state": given.state, "limit": given.limit})
    if given.json:
        return _print_json(answer)
    _warn(answer)
    if not answer["alerts"]:
        print(_nothing(answer, given.state))
        return 0
    rows = [
        (
            "silenced" if each["silenced_by"] and each["state"] == "firing" else each["state"],
            when(each["fired_at"] or each["active_at"]),
            each["id"],
            f"{each['rule']}: {each['summary']}",
        )
        for each in answer["alerts"]
    ]
    print_table(sys.stdout, ("State", "Since", "Id", "Alert"), rows, left=3)
    return 0


def _nothing(answer: Answer, state: str) -> str:
    if not answer["configured"]:
        return "No alert rules: start the collector with alert_rules."
    watched = f"{len(answer['rules'])} rules watch, last judged {when(answer['evaluated_at'])}"
    return f"No {'' if state == 'all' else state + ' '}alerts. {watched}."


def _warn(answer: Answer) -> None:
    """What keeps alerts from being judged or told, on standard error."""
    warnings = [f"new rules are not used: {answer['problem']}"] if answer["problem"] else []
    warnings += [f"rule {rule['name']}: {rule['held']}" for rule in answer["rules"] if rule["held"]]
    if answer["waiting"]:
        warnings.append(f"{answer['waiting']} notifications could not be delivered yet")
    for warning in warnings:
        print(f"fleetprof: {printable(warning)}", file=sys.stderr)


def run_show(given: argparse.Namespace) -> int:
    """Print one alert."""
    alert = client_of(given).json(f"alerts/{_id(given)}", {})
    return _print_json(alert) if given.json else _print_alert(alert)


def run_accept(given: argparse.Namespace) -> int:
    """Accept and say so."""
    body = {"author": given.author, "comment": given.comment}
    alert = client_of(given).send("POST", f"alerts/{_id(given)}/accept", body)
    if given.json:
        return _print_json(alert)
    print(f"Accepted: {printable(alert['labels']['alertname'])} of {printable(alert['service'])} ends here.")
    return 0


def run_silences(given: argparse.Namespace) -> int:
    """Print silences, a line each."""
    answer = client_of(given).json("silences", {})
    if given.json:
        return _print_json(answer)
    if not answer["silences"]:
        print("No silences.")
        return 0
    rows = [
        (each["state"], when(each["ends_at"]), each["id"],
         f"{each['matchers']}  {each['author']}: {each['comment']}")
        for each in answer["silences"]
    ]  # fmt: skip
    print_table(sys.stdout, ("State", "Until", "Id", "Silence"), rows, left=3)
    return 0


def run_silence_add(given: argparse.Namespace) -> int:
    """Begin a silence and print its id."""
    body = {
        "matchers": given.matchers, "for": given.length, "author": given.author, "comment": given.comment
    }  # fmt: skip
    made = client_of(given).send("POST", "silences", body)
    return _print_json(made) if given.json else _say(f"{made['id']} until {when(made['ends_at'])}")


def run_silence_end(given: argparse.Namespace) -> int:
    """End a silence."""
    ended = client_of(given).send("DELETE", f"silences/{_id(given)}", None)
    return _print_json(ended) if given.json else _say(f"{ended['id']} has ended.")


def _print_alert(alert: Answer) -> int:
    evidence = alert["evidence"]
    lines = [
        alert["summary"],
        "",
        f"State     {alert['state']} since {when(_since(alert))}: {alert['reason']}",
        f"Rule      {alert['rule']} {alert['scope']}",
        f"Labels    {', '.join(f'{name}={text}' for name, text in alert['labels'].items())}",
        f"Hosts     {_hosts(evidence)}",
        f"Funnel    {_funnel(evidence.get('funnel'))}",
        f"Method    {evidence.get('method', '')}",
        f"Link      {evidence.get('link', '')}",
    ]
    for line in lines:
        if line == "" or len(line.split(None, 1)) > 1:
            print(printable(line))
    _print_per_host(evidence)
    for event in alert["events"]:
        by = f" by {event['author']}" if event["author"] else ""
        print(printable(f"{when(event['at'])}  {event['state']}{by}: {event['reason']}"))
    for sent in alert["notifications"]:
        told = f"{sent['receiver']} {sent['target']}".strip()
        print(
            printable(f"{when(sent['queued_at'])}  {sent['status']} → {told}: {sent['outcome'] or 'waiting'}")
        )
    return 0


def _since(alert: Answer) -> int:
    return int(alert["ended_at"] or alert["fired_at"] or alert["active_at"])


def _hosts(evidence: Answer) -> str:
    if "a" in evidence:
        a, b = evidence["a"], evidence["b"]
        return (
            f"{a['hosts']} before with {a['samples']} samples, {b['hosts']} after with {b['samples']} samples"
        )
    return f"{evidence.get('hosts', 0)} with {evidence.get('samples', 0)} samples"


def _funnel(funnel: Answer | None) -> str:
    return " → ".join(f"{count} {name.replace('_', ' ')}" for name, count in (funnel or {}).items())


def _print_per_host(evidence: Answer) -> None:
    rows = evidence.get("per_host", [])
    unit = evidence.get("unit", "")
    if not rows or "before" not in rows[0]:
        return
    cells = [(_figure(row["before"], unit), _figure(row["after"], unit), row["host"]) for row in rows]
    print()
    print_table(sys.stdout, ("Before", "After", "Host"), cells[:_HOSTS_SHOWN], left=2)
    if len(cells) > _HOSTS_SHOWN:
        print(f"… {len(cells) - _HOSTS_SHOWN} more hosts (--json shows all)")
    print()


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.2f} %" if unit == "share" else f"{value:.3f}"


def when(seconds: int | None) -> str:
    """UTC to the second."""
    if not seconds:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _print_json(answer: Answer) -> int:
    print(json.dumps(answer, indent=2))
    return 0


def _id(given: argparse.Namespace) -> str:
    """The id as one part of a path."""
    return quote(given.id, safe="")


def _say(text: str) -> int:
    print(printable(text))
    return 0
