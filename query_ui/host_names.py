"""Pages served to this machine alone answer to this machine's names alone.

A web site that a person visits can point its own name at 127.0.0.1 and have the browser read what listens there
as if it were that site's own (DNS rebinding). The name still stands in the Host header, so a name that is not
known to lead here is refused. Served on another address, the pages are open to the network anyway.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from flask import Flask, Response, request

from collector.exposure import is_loopback
from fleetprof.errors import InputError


def known_names(listening: str, ui_url: str) -> tuple[str, ...] | None:
    """The names that lead to pages on the address `listening`, besides localhost and every IP address.

    None where every name is good: the address is not a loopback one. `ui_url`: where people reach the pages,
    for example through a proxy; "" for nowhere else.
    """
    if not (is_loopback(listening) or listening.endswith(".localhost")):
        return None
    name = urlsplit(ui_url).hostname
    return (name,) if name else ()


def refuse_other_names(app: Flask, names: Iterable[str]) -> None:
    """Have `app` refuse requests under names that are not in `names`."""
    known = frozenset(name.lower() for name in names)

    def check() -> Response | None:
        if _is_known(request.host, known):
            return None
        raise InputError(
            f'fleetprof does not answer to the name "{request.host[:100]}".',
            "Use http://localhost or the address it printed. Behind a proxy, set ui_url (FLEETPROF_UI_URL) to "
            "where people reach it.",
        )

    app.before_request(check)


def _is_known(host: str, known: frozenset[str]) -> bool:
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    return name in known or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _is_address(name: str) -> bool:
    """An address in the Host header cannot be another site's name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
