"""How the schema is written on a cluster: a replicated table on every node, and a distributed one over them.

A table T of a migration becomes `T_local`, replicated within its shard, and T itself, Distributed, which reads all
shards. Rows of a table with a shard key are on the shard that their key chooses (`cluster.py` puts them there);
small tables without one are whole on every node, under their own name.
"""

import re
from dataclasses import dataclass

from fleetprof.errors import UnavailableError

DEDUP_BLOCKS = 10_000
"""How many of the last blocks of a table ClickHouse remembers to recognise a repeated insert; its own 100 would
last for less than a minute."""
DEDUP_SECONDS = 7 * 86400

# A stack's samples and its frames lie together, and so do all rows that a Summing or Replacing table makes one of.
SHARD_KEYS = {
    "samples": "stack",
    "stacks": "stack",
    "stack_1h": "stack",
    "func_1h": "func",
    "frames": "id",
    "symbolized": "id",
    "places": "func",
    "series": "series",
    "series_1m": "series",
    "windows": "agent_id",
    "losses": "host",
    "agents": "agent_id",
    "heartbeats": "agent_id",
    "spans": "trace_id",
    "batches_begun_rows": "collector",
}

_CREATE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<name>\w+) (?P<columns>\(.*\)) "
    r"ENGINE = (?P<kind>\w*)MergeTree(?:\((?P<arguments>[^\n]*)\))?(?P<rest>\s.*)",
    re.DOTALL,
)
_ALTER = re.compile(r"ALTER TABLE (?P<name>\w+) (?P<what>ADD|DROP|MODIFY) COLUMN (?P<rest>.*)", re.DOTALL)
_OF_ROWS = re.compile(r"\s+(CODEC\(|TTL ).*", re.DOTALL)
"""What a column says of how rows are kept: the distributed table has none of its own."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster's name, and the database on it."""

    name: str
    database: str

    def ddl(self, sql: str) -> list[str]:
        """The statements for one of a migration, whose ${...} are filled in already.

        Raises UnavailableError for one that is neither CREATE TABLE nor ALTER TABLE … COLUMN.
        """
        if found := _CREATE.fullmatch(sql.strip()):
            return self._create(found)
        if found := _ALTER.fullmatch(sql.strip()):
            return self._alter(found)
        raise UnavailableError(f"A migration cannot be run on a cluster: {sql[:100]}", "Report this, please.")

    def _create(self, found: "re.Match[str]") -> list[str]:
        name, everywhere = found["name"], found["name"] not in SHARD_KEYS
        where = "all" if everywhere else "{shard}"
        replica = "{shard}-{replica}" if everywhere else "{replica}"
        arguments = f", {found['arguments']}" if found["arguments"] else ""
        local = local_table(name)
        create = (
            f"CREATE TABLE IF NOT EXISTS {self.database}.{local} ON CLUSTER {self.name} {found['columns']} "
            f"ENGINE = Replicated{found['kind']}MergeTree("
            f"'/clickhouse/tables/{self.database}/{name}/{where}', '{replica}'{arguments})"
            f"{found['rest'].rstrip()}\n"
            f"SETTINGS replicated_deduplication_window = {DEDUP_BLOCKS},"
            f" replicated_deduplication_window_seconds = {DEDUP_SECONDS}"
        )
        over = (
            f"CREATE TABLE IF NOT EXISTS {self.database}.{name} ON CLUSTER {self.name} AS {self.database}.{local} "
            f"ENGINE = Distributed({self.name}, {self.database}, {local})"
        )
        return [create] if everywhere else [create, over]

    def _alter(self, found: "re.Match[str]") -> list[str]:
        name, column = found["name"], found["rest"].strip()
        tables = {local_table(name): column}
        if name in SHARD_KEYS:
            tables[name] = _OF_ROWS.sub("", column)
        return [
            f"ALTER TABLE {self.database}.{table} ON CLUSTER {self.name} {found['what']} COLUMN {what}"
            for table, what in tables.items()
        ]


def local_table(name: str) -> str:
    """The table with the rows of `name` on each node."""
    return f"{name}_local" if name in SHARD_KEYS else name
