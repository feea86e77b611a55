"""The tokens of a collector put together: the file, the gate at its doors, and the limits of each token."""

import logging
from pathlib import Path

import numpy as np

from collector.ingest.window import Window
from collector.tokens.allowance import Allowance, Allowances
from collector.tokens.book import TokenBook
from collector.tokens.gate import CURRENT, Gate
from collector.tokens.interceptor import TokenInterceptor

log = logging.getLogger("fleetprof.tokens")

OFF, TOKENS = "off", "tokens"


class Guard:
    """Exists where auth = "tokens"."""

    def __init__(self, folder: Path, allowance: Allowance) -> None:
        """Open the tokens' file in `folder`; raises UnavailableError."""
        self.book = TokenBook(folder)
        self.gate = Gate(self.book)
        self.allowances = Allowances(allowance)
        if not self.book.all():
            log.warning(
                "Calls need a token, and there is none yet. Make one with: "
                "fleetprof-collector token create --data %s --scope ingest NAME.",
                folder,
            )

    def interceptors(self) -> tuple[TokenInterceptor]:
        """What a gRPC server asks first."""
        return (TokenInterceptor(self.gate),)

    def account(self, window: Window, size_bytes: int) -> None:
        """Take a window from the limits of the call's token; raises Later or Refused."""
        if token := CURRENT.get():
            columns = window.columns
            series, stacks = (np.frombuffer(ids, "<u8") for ids in (columns.series_ids, columns.stack_ids))
            self.allowances.take(token, size_bytes, window.rows, series, stacks)

    def pay(self, size_bytes: int) -> None:
        """Take bytes that are no window from the limits of the call's token; raises Later."""
        if token := CURRENT.get():
            none = np.empty(0, np.uint64)
            self.allowances.take(token, size_bytes, 0, none, none)

    def close(self) -> None:
        """Close the file."""
        self.book.close()
