"""Names of hooks that both sides know; an agent registers each hook of its host with what it lacks."""

BPF_RUN_TIME = "BPF run time"
"""The kernel counts what BPF programs cost. Where it is off, the cost of an agent is told without them."""
