"""The `fleetprof` command's questions to a server, as text."""
