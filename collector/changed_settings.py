"""Which settings take effect while the collector runs, when it reads its configuration again (SIGHUP)."""

import logging
from collections.abc import Callable
from dataclasses import replace

from collector.config import TABLE, CollectorConfig
from fleetprof.errors import InputError

log = logging.getLogger("fleetprof.collector")

LIVE = frozenset(
    {
        "retention_samples_days",
        "retention_rollups_days",
        "retention_minutes_days",
        "retention_traces_days",
        "disk_free",
        "disk_free_percent",
    }
)
"""Names of settings that need no restart."""


def reread(now: CollectorConfig, read: Callable[[], CollectorConfig]) -> CollectorConfig:
    """The configuration in force from now on: `now`, with what `read` gives for the live settings.

    Says what has changed, and what needs a restart. A mistake in the file leaves all as it is.
    """
    try:
        found = read()
    except InputError as error:
        log.error("The settings stay as they are: %s", error)
        return now
    changed = [each for each in TABLE if getattr(found, each.field) != getattr(now, each.field)]
    live = {each.field: getattr(found, each.field) for each in changed if each.name in LIVE}
    for each in changed:
        if each.name in LIVE:
            log.info("%s is %s from now on.", each.name, each.kind.to_toml(live[each.field]))
        else:
            log.warning("%s has changed, which takes effect at the next start.", each.name)
    return replace(now, **live)
