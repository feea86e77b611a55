"""Epochs of the lease on one server: a table each, since `CREATE TABLE` succeeds for exactly one who tries."""

from collections.abc import Callable
from dataclasses import dataclass

from collector.store.errors import TABLE_ALREADY_EXISTS, UNKNOWN_TABLE, StoreError
from collector.store.interface import Columns, Statement
from collector.store.lease import Beat

PREFIX = "collector_lease_"
COLUMNS = "holder String, at_where String, beat UInt64, released UInt8"


@dataclass(frozen=True, slots=True)
class LeaseTables:
    """`Epochs` of the current database. `ask` and `tell` run statements on connections that nothing else holds
    up; `settled` waits until no insert is under way."""

    ask: Callable[[Statement], Columns]
    tell: Callable[[Statement], None]
    settled: Callable[[], None]

    def newest(self) -> int:
        """See `Epochs.newest`."""
        return max(self._epochs(), default=0)

    def claim(self, epoch: int, holder: str) -> bool:
        """See `Epochs.claim`."""
        create = (
            f"CREATE TABLE {table_of(epoch)} ({COLUMNS}) ENGINE = ReplacingMergeTree(beat) ORDER BY holder"
        )
        try:
            self.tell((create, {}))
        except StoreError as error:
            if error.code == TABLE_ALREADY_EXISTS:
                return False
            raise
        return True

    def last_beat(self, epoch: int) -> Beat | None:
        """See `Epochs.last_beat`."""
        try:
            return to_beat(self.ask(last_beat_statement(epoch)))
        except StoreError as error:
            if error.code == UNKNOWN_TABLE:
                return None
            raise

    def beat(self, epoch: int, beat: Beat) -> None:
        """See `Epochs.beat`."""
        self.tell(beat_statement(epoch, beat))

    def settle(self) -> None:
        """See `Epochs.settle`."""
        self.settled()

    def drop_before(self, epoch: int) -> None:
        """See `Epochs.drop_before`."""
        for older in self._epochs():
            if older < epoch:
                self.tell((f"DROP TABLE IF EXISTS {table_of(older)}", {}))

    def _epochs(self) -> list[int]:
        statement: Statement = (
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE %(like)s",
            {"like": f"{PREFIX}%"},
        )
        return [int(name.removeprefix(PREFIX)) for name in self.ask(statement)["name"]]


def table_of(epoch: int) -> str:
    """The table of an epoch."""
    return f"{PREFIX}{epoch:010}"


def last_beat_statement(epoch: int) -> Statement:
    """The newest beat of an epoch, as one row or none."""
    sql = f"SELECT holder, at_where, beat, released FROM {table_of(epoch)} ORDER BY beat DESC LIMIT 1"  # noqa: S608
    return sql, {}


def to_beat(row: Columns) -> Beat | None:
    """The beat that `last_beat_statement` found."""
    if not len(row["beat"]):
        return None
    return Beat(row["holder"][0], row["at_where"][0], int(row["beat"][0]), bool(row["released"][0]))


def beat_statement(epoch: int, beat: Beat) -> Statement:
    """Adds a beat."""
    sql = (
        f"INSERT INTO {table_of(epoch)} (holder, at_where, beat, released) SELECT %(holder)s, %(where)s,"
        " toUInt64(%(count)s), toUInt8(%(released)s)"
    )
    values = {"holder": beat.holder, "where": beat.where, "count": beat.count, "released": int(beat.released)}
    return sql, values
