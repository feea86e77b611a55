"""What reads the files that processes have mapped needs of their keeper."""

from typing import Protocol

from agent.process import Mapping


class MappedFiles(Protocol):
    """Open descriptors of mapped files (agent.object_files.ObjectFiles)."""

    def fd(self, mapping: Mapping) -> int | None:
        """A descriptor that stays the owner's, None when the file could not be opened."""
        ...
