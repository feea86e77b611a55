"""How one schema is written for embedded ClickHouse, for current servers and for 18.16.

Migrations hold ${...} placeholders where the clauses differ; everything else is the same text everywhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template

DEDUP_BLOCKS = 1000
"""How many of the last blocks of a table ClickHouse remembers to recognise a repeated insert."""

_MODERN = (23, 8)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a ClickHouse of `version` (major, minor) understands; `embedded` when it is in our process."""

    version: tuple[int, int]
    embedded: bool = False

    @property
    def modern(self) -> bool:
        """True from 23.8 on, the oldest that is supported in production; false for 18.16, used by tests."""
        return self.version >= _MODERN

    @property
    def insert_tokens(self) -> bool:
        """Whether a repeated insert can be told by a token of ours."""
        return self.modern and not self.embedded

    @property
    def server_parameters(self) -> bool:
        """Whether values can travel beside the statement."""
        return self.modern

    def render(self, sql: str) -> str:
        """`sql` with its ${...} placeholders filled in; raises KeyError for one that is not known."""
        return Template(sql).substitute(self._clauses())

    def ddl(self, sql: str) -> list[str]:
        """The statements that do what a statement of a migration says, here."""
        return [self.render(sql)]

    def _clauses(self) -> Mapping[str, str]:
        if not self.modern:
            names = ("codec_delta", "codec_zstd", "codec_t64", "codec_t64_32", "dedup")
            return {"lc": "String"} | dict.fromkeys(names, "")
        return {
            "lc": "LowCardinality(String)",
            "codec_delta": "CODEC(Delta(4), ZSTD(1))",
            "codec_zstd": "CODEC(ZSTD(1))",
            "codec_t64": "CODEC(T64, ZSTD(1))",
            "codec_t64_32": "CODEC(T64, ZSTD(1))",
            "dedup": ""
            if self.embedded
            else f"SETTINGS non_replicated_deduplication_window = {DEDUP_BLOCKS}",
        }


def parse_version(text: str) -> tuple[int, int]:
    """(major, minor) of what `SELECT version()` returns, e.g. "26.9.2.1" → (26, 9)."""
    found = re.match(r"(\d+)\.(\d+)", text)
    if not found:
        raise ValueError(f"Not a ClickHouse version: {text!r}.")
    return int(found[1]), int(found[2])
