"""The parts of source listings, put together."""

from collections.abc import Sequence
from pathlib import Path

from collector.config import CollectorConfig
from collector.debuginfo.files import FOLDER as DEBUG_FOLDER
from collector.debuginfo.files import DebugFiles
from collector.debuginfo.workers import WorkerLimits, Workers
from collector.sources.archives import FOLDER, SourceArchives
from collector.sources.listing import Sources
from collector.sources.texts import SourceTexts
from collector.sources.upstream import SourceServers

_NO_LIMIT = 1 << 60


def open_archives(data: Path) -> SourceArchives:
    """The uploaded sources of a data folder."""
    return SourceArchives(data / FOLDER)


def open_sources(config: CollectorConfig) -> Sources:
    """Beside a collector; raises UnavailableError."""
    return sources_of(
        config.data,
        config.debuginfod_urls,
        WorkerLimits(config.debuginfo_memory_bytes),
        config.debuginfo_size_bytes,
        config.disk_free_bytes,
    )


def sources_of(
    data: Path,
    urls: Sequence[str] = (),
    limits: WorkerLimits | None = None,
    size_bytes: int = _NO_LIMIT,
    reserve_bytes: int = 0,
) -> Sources:
    """Of a data folder; raises UnavailableError."""
    files = DebugFiles(data / DEBUG_FOLDER, size_bytes, reserve_bytes)
    return Sources(files, Workers(limits), SourceTexts(open_archives(data), SourceServers(urls)))
