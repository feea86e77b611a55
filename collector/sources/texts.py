"""Where the text of a source file comes from: uploaded archives first, then debuginfod servers."""

from collections.abc import Sequence
from dataclasses import dataclass

from collector.sources.archives import Of, SourceArchives
from collector.sources.upstream import SourceServers
from fleetprof.demangle import shorten

MAX_LINES = 200_000
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class Text:
    """A source file. `lines` without their ends; `origin`: where it is from, for people."""

    lines: list[str]
    origin: str


class SourceTexts:
    """Safe to use from several threads."""

    def __init__(self, archives: SourceArchives, servers: SourceServers) -> None:
        self._archives, self._servers = archives, servers

    @property
    def asks_servers(self) -> bool:
        """Whether there are debuginfod servers to ask."""
        return bool(self._servers)

    def find(self, path: str, build_id: str, versions: Sequence[tuple[str, str]]) -> Text | None:
        """The file that a compiler called `path`; raises UnavailableError for a damaged archive.

        `versions`: the services that run it, each with its version, the heaviest first.
        """
        of = [Of(build_id)] if build_id else []
        of += [Of(service=service, version=version) for service, version in versions if service]
        of += [Of(service=service) for service in dict.fromkeys(name for name, _ in versions) if service]
        for each in of:
            if found := self._archives.find(each, path):
                return Text(_lines(found.data), f"{found.archive}, uploaded for {each.words}")
        fetched = self._servers.find(build_id, path) if build_id else None
        return Text(_lines(fetched.data), fetched.server) if fetched else None


def _lines(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "replace").removesuffix("\n").split("\n", MAX_LINES)
    return [_shown(line) for line in lines[:MAX_LINES]]


def _shown(line: str) -> str:
    """A line with its tabs as spaces, without what no terminal should print."""
    text = shorten(line.rstrip("\r").expandtabs(8))
    return "".join(character if character.isprintable() else _UNPRINTABLE for character in text)
