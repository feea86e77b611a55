"""The version of the contract between agents and collectors (fleetprof/v1/*.proto)."""

PROTOCOL_VERSION = 1
"""Raised when an old reader would misread a new message; fields that may be ignored do not raise it."""

HEARTBEAT_S = 30.0
"""How often an agent says that it lives, unless the collector asks for another pace."""
SILENT_AFTER_S = 90
"""An agent is silent after this long without a heartbeat or a window: three heartbeats."""
