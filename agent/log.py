"""How the agent speaks on standard error: one line a message, level in front where it is not information."""

import logging
import sys


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """`fleetprof-agent: message`, with the level in front of warnings and errors."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return f"fleetprof-agent: {level}{record.getMessage()}"


def set_up(level: str) -> None:
    """Send all of the agent's log at or above `level` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    root = logging.getLogger("fleetprof")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
