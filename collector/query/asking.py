"""Runs the query package's statements: with limits, and with errors in words that a page's reader knows."""

from dataclasses import dataclass, field

from collector.query.sources import Binds
from collector.store.errors import MEMORY_LIMIT_EXCEEDED, QueryTooLong, StoreBusy
from collector.store.interface import Columns, Store


@dataclass(frozen=True, slots=True)
class Limits:
    """What one statement may use."""

    seconds: int = 30
    memory_bytes: int = 1 << 30
    threads: int = 2

    @property
    def sql(self) -> str:
        """The SETTINGS clause. Half of the memory full of groups, the store goes on with them on its disk."""
        return (
            f" SETTINGS max_execution_time = {int(self.seconds)}, "
            f"max_memory_usage = {int(self.memory_bytes)}, max_threads = {int(self.threads)}, "
            f"max_bytes_before_external_group_by = {int(self.memory_bytes) // 2}"
        )


@dataclass(frozen=True, slots=True)
class Asking:
    """A store and the limits under which it is asked."""

    store: Store
    limits: Limits = field(default_factory=Limits)

    def ask(self, sql: str, binds: Binds) -> Columns:
        """The columns of a SELECT without SETTINGS.

        Raises QueryTooLong past the time limit, StoreBusy past the memory limit.
        """
        try:
            return self.store.query((sql + self.limits.sql, binds.values))
        except QueryTooLong as error:
            raise QueryTooLong(
                error.code,
                f"This query took longer than {self.limits.seconds} s.",
                "Shorten the range or narrow the selector; nothing was lost.",
            ) from error
        except StoreBusy as error:
            reason = (
                f"This query needs more memory than the {self.limits.memory_bytes >> 20} MiB that one may have, or"
                " than the store has left."
                if error.code == MEMORY_LIMIT_EXCEEDED
                else "The store had no room for this query: there are too many at once."
            )
            raise StoreBusy(
                error.code,
                reason,
                "Shorten the range or narrow the selector, or try again in a moment; nothing was lost.",
            ) from error
