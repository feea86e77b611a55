"""Serves an invented fleet from a store of its own: `python -m tests.ui.serve_shop FOLDER CONTENT [PORT]`.

CONTENT is shop, fleet, hostile, listed, empty, or full (empty too, on a disk that is full). A process of its own,
because a process can have one embedded store open.
Prints the URL, then serves until its standard input closes.
"""

import sys
from pathlib import Path

from collector.keeping.disk_guard import DiskStatus, DroppedDay
from collector.query.querier import Querier
from collector.sources.assemble import sources_of
from collector.store.chdb import ChdbStore
from collector.store.migrate import migrate
from query_ui.app import UiConfig, create_app
from query_ui.server import serve
from tests.ui import fleet, hostile, listed
from tests.ui.shop import NOW_S, fill

FULL = DiskStatus(
    free_bytes=700 << 20,
    total_bytes=100 << 30,
    reserve_bytes=2 << 30,
    refusal="full",
    dropped=(DroppedDay("2026-03-02", NOW_S - 7200), DroppedDay("2026-03-03", NOW_S - 3600)),
)


def main(folder: Path, content: str, port: str) -> None:
    store = ChdbStore(folder)
    migrate(store)
    alerts = None
    if content == "shop":
        fill(store)
    if content == "fleet":
        fleet.fill(store)
        alerts = fleet.judge(folder, store)
    if content == "hostile":
        hostile.fill(store)
        alerts = hostile.judge(folder, store)
    if content == "listed":
        listed.fill(store, folder)
    config = UiConfig(
        now=lambda: NOW_S,
        alerts=alerts,
        disk=lambda: FULL if content == "full" else None,
        sources=sources_of(folder),
    )
    running = serve(create_app(Querier(store), config), "127.0.0.1", int(port))
    print(running.url, flush=True)
    sys.stdin.read()
    running.stop()
    if alerts:
        alerts.stop()
    store.close()


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        sys.argv[2] if len(sys.argv) > 2 else "shop",
        sys.argv[3] if len(sys.argv) > 3 else "0",
    )
