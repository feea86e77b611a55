"""Answers about releases."""

from collector.query.model import Json, TimeRange
from collector.releases.model import Release
from query_ui.api.profiles import range_json

RUNS = 100


def releases_json(range: TimeRange, releases: list[Release], limit: int) -> Json:
    """Releases, the newest first; `limited` when there are more than `limit`."""
    return {
        "range": range_json(range),
        "limited": len(releases) > limit,
        "releases": [_release_json(release) for release in releases[:limit]],
    }


def _release_json(release: Release) -> Json:
    return {
        "service": release.service,
        "version": release.version,
        "first_seen_s": release.first_seen_s,
        "last_seen_s": release.last_seen_s,
        "hosts": release.hosts,
        "hosts_now": release.hosts_now,
        "host_share": release.host_share,
        "cpu_share": release.cpu_share,
        "cores": release.cores,
        "predecessor": release.predecessor,
        "runs": [
            {"host": run.host, "first_s": run.first_s, "last_s": run.last_s} for run in release.runs[:RUNS]
        ],
    }
