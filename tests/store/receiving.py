"""A collector's receivers on the shared store, behind real gRPC and HTTP servers, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from collector.ingest.committer import Committer
from collector.ingest.journal import Journal
from collector.ingest.known import KnownDefinitions
from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.pipeline import Pipeline
from collector.query.querier import Querier
from collector.receivers.receivers import Receivers
from collector.server import serve
from collector.store.chdb import ChdbStore
from fleetprof.setting_kinds import Address
from query_ui.app import UiConfig, create_app
from query_ui.server import serve as serve_http

LIMITS = Limits()


class Receiving:
    """Where to push, and what was stored of it."""

    def __init__(self, store: ChdbStore, ledger: LossLedger, grpc_port: int, url: str) -> None:
        self.store, self.ledger, self.url = store, ledger, url
        self.target = f"127.0.0.1:{grpc_port}"

    def post(self, path: str, body: bytes, **headers: str) -> requests.Response:
        """POST; underscores in names of headers stand for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.url + path, data=body, headers=sent, timeout=30)

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        columns = self.store.query((sql, values))
        return list(zip(*(column.tolist() for column in columns.values()), strict=True))

    def stored(self, service: str) -> dict[str, int]:
        """Profile type → value in table samples."""
        sql = "SELECT type, sum(value) FROM samples WHERE service = %(service)s GROUP BY type"
        return dict(self.rows(sql, service=service))


@contextmanager
def receiving(store: ChdbStore, folder: Path) -> Iterator[Receiving]:
    """Receivers that run until the block's end."""
    ledger, known = LossLedger(), KnownDefinitions(store)
    committer = Committer(store, Journal(folder / "journal"), known, ledger, linger_s=0.001)
    pipeline = Pipeline(known, committer, ledger, LIMITS)
    receivers = Receivers(pipeline.push, store, ledger, LIMITS)
    server = serve(pipeline, Address("127.0.0.1", 0), LIMITS, foreign=receivers.grpc)
    pages = serve_http(create_app(Querier(store), UiConfig(receivers=receivers.http)), "127.0.0.1", 0)
    try:
        yield Receiving(store, ledger, server.port, pages.url)
    finally:
        pages.stop()
        server.stop(5)
        assert receivers.stop(10)
        assert committer.stop(10)
