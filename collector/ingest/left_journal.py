"""A journal whose notes say nothing any more, because another collector wrote to the store meanwhile."""

import logging
import time
from pathlib import Path

from fleetprof.errors import UnavailableError

log = logging.getLogger("fleetprof.ingest")


def set_aside(folder: Path) -> Path | None:
    """Rename the journal in `folder` if it has batches, and say so; returns its new name.

    Its batches noted the numbers of blocks that were this collector's then and are another one's now. What of
    them was not acknowledged the agents have sent to the other one (half_stored.py); what was acknowledged is in
    the tables, and the other one has mended the roll-ups (left_rollups.py).
    """
    batches = sum(1 for _ in folder.glob("*.batch"))
    if not batches:
        return None
    aside = folder.with_name(f"{folder.name}.{int(time.time())}")
    try:
        folder.rename(aside)
    except OSError as error:
        raise UnavailableError(
            f"Cannot rename {folder}: {error.strerror}.", "Let this user write to the data folder."
        ) from error
    log.warning(
        "Another collector wrote to the store since this one did, and completed what this one left: %d batches of "
        "then are set aside in %s.",
        batches,
        aside,
    )
    return aside
