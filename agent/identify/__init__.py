"""From a process to its labels: pure functions, no I/O. Start at identifier.py."""
