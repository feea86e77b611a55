"""All receivers of foreign protocols, put together."""

from collector.ingest.limits import Limits
from collector.ingest.loss_ledger import LossLedger
from collector.receivers.grpc_services import grpc_handlers
from collector.receivers.http import HttpReceivers
from collector.receivers.inbox import Inbox, Push
from collector.receivers.otlp import Otlp
from collector.receivers.span_writer import SpanWriter
from collector.store.interface import Store


class Receivers:
    """Translates what other profilers and tracers push; profiles go through `push` as our own windows do."""

    def __init__(self, push: Push, store: Store, ledger: LossLedger, limits: Limits) -> None:
        """Raises StoreError."""
        self._inbox = Inbox(push, ledger)
        self._spans = SpanWriter(store)
        otlp = Otlp(self._inbox, self._spans, limits)
        self.http = HttpReceivers(self._inbox, otlp)
        self.grpc = grpc_handlers(self._inbox, otlp)

    @property
    def alive(self) -> bool:
        """False once spans can no longer be stored."""
        return self._spans.alive

    def stop(self, grace_s: float) -> bool:
        """Store what waits, then end; false when that took more than `grace_s`."""
        self._inbox.close()
        return self._spans.stop(grace_s)
