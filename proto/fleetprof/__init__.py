"""The contract between fleetprof's parts: wire messages, identities, names and units."""

__version__ = "0.1.0"
