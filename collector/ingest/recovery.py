"""Which tables have an entry's block, after a crash or a failed insert."""

from dataclasses import dataclass

from collector.ingest.journal import Header
from collector.store.interface import Store

_PARTS = (
    "SELECT table, min_block_number AS first, max_block_number AS last FROM system.parts"
    " WHERE active AND database = currentDatabase()"
)
_ANY = 1 << 62


@dataclass(frozen=True, slots=True)
class PresentBlocks:
    """The blocks that each table has, as closed ranges; parts are merged from neighbours."""

    ranges: dict[str, list[tuple[int, int]]]

    def tables_with(self, header: Header, following: Header | None) -> set[str]:
        """The tables that have the entry's block: newer than it noted, not newer than the next entry did.

        A table that the next entry found with no newer block has none of this one.
        """
        found = set()
        for table in header.lengths:
            after = header.newest_blocks.get(table, 0)
            until = following.newest_blocks.get(table, 0) if following else _ANY
            if any(last > after and first <= until for first, last in self.ranges.get(table, [])):
                found |= {table} if until > after else set()
        return found


def load_present_blocks(store: Store) -> PresentBlocks:
    """The blocks that are there now; none where the store does not tell (there tokens do it)."""
    if not store.newest_blocks():  # which also waits for inserts whose end was not seen
        return PresentBlocks({})
    parts = store.query((_PARTS, {}))
    ranges: dict[str, list[tuple[int, int]]] = {}
    for table, first, last in zip(
        parts["table"], parts["first"].tolist(), parts["last"].tolist(), strict=True
    ):
        ranges.setdefault(str(table), []).append((first, last))
    return PresentBlocks(ranges)
