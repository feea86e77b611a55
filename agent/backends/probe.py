"""Chooses the backend: the first that really starts here, with the reasons why the others do not."""

import logging
from collections.abc import Callable

from agent.backends.bcc import BccBackend
from agent.backends.core import CoreBackend
from agent.backends.hooks import hooks_here
from agent.backends.interface import Backend, BackendOptions, Probe
from agent.backends.perf import PerfBackend
from fleetprof.errors import InputError, UnavailableError

log = logging.getLogger("fleetprof.agent")

BACKENDS: dict[str, Callable[[BackendOptions], Backend]] = {
    "core": CoreBackend,
    "bcc": BccBackend,
    "perf": PerfBackend,
}
"""In the order in which "auto" tries them."""


def choose(name: str, options: BackendOptions) -> Backend:
    """Start the backend called `name`, or the first that works for "auto".

    Raises UnavailableError saying why it cannot run (for "auto": why none can), InputError for another name.
    """
    if name in BACKENDS:
        return BACKENDS[name](options)
    if name != "auto":
        raise InputError(f'There is no backend "{name}".', f"Known backends: auto, {', '.join(BACKENDS)}.")
    reasons: list[UnavailableError] = []
    for candidate, start in BACKENDS.items():
        try:
            backend = start(options)
        except UnavailableError as error:
            log.info("backend %s cannot run here: %s", candidate, error.message)
            reasons.append(error)
        else:
            return backend
    whys = "".join(
        f"\n  {candidate}: {error.message}" for candidate, error in zip(BACKENDS, reasons, strict=True)
    )
    raise UnavailableError(f"This host cannot be sampled: no backend can run.{whys}", reasons[0].hint)


def probe_all() -> list[Probe]:
    """Start each backend for a moment, in the order of BACKENDS; the hooks stand with `core`."""
    return [Probe(name, _why_not(name), hooks_here() if name == "core" else {}) for name in BACKENDS]


def _why_not(name: str) -> str:
    try:
        BACKENDS[name](BackendOptions()).close()
    except UnavailableError as error:
        return error.message
    return ""
