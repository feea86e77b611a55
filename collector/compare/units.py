"""The units in which selections are compared, and what their variation is between."""

from typing import Literal

Unit = Literal["share", "cores_per_host"]
"""Of the selection's time (0..1), or CPU-seconds per second and host."""

UNITS: tuple[Unit, ...] = ("share", "cores_per_host")

Clusters = Literal["hosts", "time slices"]
