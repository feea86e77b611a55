"""Where debug files come from, which decides whose file counts."""

from enum import StrEnum


class Origin(StrEnum):
    """Who brought a file; the most trusted first: a build id says which build a file claims to be, and no more."""

    COMMAND = "command"
    """A person or a build pipeline that may administer the collector."""
    DEBUGINFOD = "debuginfod"
    """A server that the collector's settings name."""
    AGENT = "agent"
    """Whoever may push profiles."""

    def outranks(self, other: "Origin") -> bool:
        """Whether a file from here takes the place of one from `other`."""
        order = list(Origin)
        return order.index(self) < order.index(other)
