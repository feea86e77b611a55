"""How one schema is written for embedded ClickHouse, for current servers, for clusters and for 18.16.

Migrations hold ${...} placeholders where the clauses differ; everything else is the same text everywhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

from collector.store.cluster_ddl import Cluster

_MODERN = (23, 8)
_LEFT_OUT = "-- "
"""What statements begin with that are not run."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a ClickHouse of `version` (major, minor) understands; `cluster` where it is one of several."""

    version: tuple[int, int]
    cluster: Cluster | None = None

    @property
    def modern(self) -> bool:
        """True from 23.8 on, the oldest that is supported in production; false for 18.16, used by tests."""
        return self.version >= _MODERN

    def render(self, sql: str) -> str:
        """`sql` with its ${...} placeholders filled in; raises KeyError for one that is not known."""
        return Template(sql).substitute(self._clauses())

    def ddl(self, sql: str) -> list[str]:
        """The statements that do here what a statement of a migration says.

        None where there is nothing to say. Raises KeyError as `render` does, and UnavailableError for what cannot
        be done on a cluster.
        """
        rendered = self.render(sql)
        if rendered.startswith(_LEFT_OUT):
            return []
        return self.cluster.ddl(rendered) if self.cluster else [rendered]

    def _clauses(self) -> Mapping[str, str]:
        if not self.modern:
            names = (
                "codec_delta",
                "codec_delta_8",
                "codec_windows",
                "codec_steps",
                "codec_steps_by_bits",
                "codec_zstd",
                "codec_t64",
                "codec_t64_32",
                "ttl_2_days",
                "dedup",
            )
            return {"lc": "String", "modern": _LEFT_OUT} | dict.fromkeys(names, "")
        return {
            "lc": "LowCardinality(String)",
            "modern": "",
            "codec_delta": "CODEC(Delta(4), ZSTD(1))",
            "codec_delta_8": "CODEC(Delta(8), ZSTD(1))",
            "codec_windows": "CODEC(GCD, Delta(4), ZSTD(1))",
            "codec_steps": "CODEC(GCD, Delta(4), T64, ZSTD(1))",
            "codec_steps_by_bits": "CODEC(GCD, Delta(4), T64('bit'), ZSTD(1))",
            "codec_zstd": "CODEC(ZSTD(1))",
            "codec_t64": "CODEC(T64, ZSTD(1))",
            "codec_t64_32": "CODEC(T64, ZSTD(1))",
            "ttl_2_days": "TTL ts + INTERVAL 2 DAY",
            # A repeated insert is recognised by newest_blocks (interface.py), or by the replicas of a cluster.
            "dedup": "",
        }


def parse_version(text: str) -> tuple[int, int]:
    """(major, minor) of what `SELECT version()` returns, e.g. "26.9.2.1" → (26, 9)."""
    found = re.match(r"(\d+)\.(\d+)", text)
    if not found:
        raise ValueError(f"Not a ClickHouse version: {text!r}.")
    return int(found[1]), int(found[2])
