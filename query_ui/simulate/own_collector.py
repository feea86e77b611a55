"""A collector of the simulation's own, in a process of its own, that tells in the end what its store holds."""

import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from collector.collector import Collector
from collector.config import TABLE, CollectorConfig
from collector.store.interface import Store
from fleetprof.errors import FleetprofError, UnavailableError
from fleetprof.setting_kinds import Address
from fleetprof.settings import load_settings

END_S = 600.0


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table of the store, when its parts are merged."""

    name: str
    rows: int
    size_bytes: int


class OwnCollector:
    """Runs until `end`; `address` is where to push to."""

    def __init__(self, data: Path) -> None:
        """Raises UnavailableError when it cannot start."""
        context = multiprocessing.get_context("spawn")  # a fork would inherit gRPC's threads
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(str(data), other), daemon=True)
        self._process.start()
        other.close()
        answer = self._answer()
        if not isinstance(answer, int):
            raise UnavailableError(
                f"The collector does not start: {answer}", "Choose another folder (--data)."
            )
        self.address = Address("127.0.0.1", answer)

    def end(self, sizes: bool) -> list[TableSize]:
        """Stop it; with `sizes`, merge its tables first and return how large they are."""
        self._pipe.send(sizes)
        found = self._answer()
        self._process.join(END_S)
        return found if isinstance(found, list) else []

    def close(self) -> None:
        """End the process if it still runs, without asking it for anything."""
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(END_S)

    def _answer(self) -> int | str | list[TableSize]:
        try:
            answer: int | str | list[TableSize] = self._pipe.recv()
        except EOFError:
            return "its process ended."
        return answer


@contextmanager
def own_collector(data: Path) -> Iterator[OwnCollector]:
    """A collector that is ended with the block."""
    found = OwnCollector(data)
    try:
        yield found
    finally:
        found.close()


def _serve(
    data: str, pipe: "multiprocessing.connection.Connection[int | str | list[TableSize], bool]"
) -> None:
    """The process: tell the port, run until told to end, tell the sizes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the simulation, which ends this
    flags = {"grpc": "127.0.0.1:0", "data": data}
    try:
        collector = Collector(load_settings(TABLE, CollectorConfig, flags, {}).config)
        collector.start()
    except FleetprofError as error:
        pipe.send(str(error))
        return
    pipe.send(collector.grpc_port)
    try:
        wanted = pipe.recv()
        pipe.send(table_sizes(collector.store) if wanted else [])
    except EOFError:
        pass  # the simulation was killed
    collector.stop()


def table_sizes(store: Store) -> list[TableSize]:
    """The store's tables, the largest first, after merging what waits to be merged."""
    names = store.query(("SELECT DISTINCT table FROM system.parts WHERE active", {}))["table"]
    for name in names:
        store.execute((f"OPTIMIZE TABLE {name} FINAL", {}))
    found = store.query(
        (
            "SELECT table, sum(rows) AS n, sum(bytes_on_disk) AS b FROM system.parts"
            " WHERE active AND database = currentDatabase() GROUP BY table ORDER BY b DESC",
            {},
        )
    )
    columns = (found["table"], found["n"].tolist(), found["b"].tolist())
    return [TableSize(str(name), rows, size) for name, rows, size in zip(*columns, strict=True)]
