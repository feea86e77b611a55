"""Which CPUs this host has online."""

from pathlib import Path

ONLINE_CPUS = Path("/sys/devices/system/cpu/online")


def online_cpus(path: Path = ONLINE_CPUS) -> set[int]:
    """The numbers of the CPUs that are online, from a list such as "0-3,8"."""
    cpus: set[int] = set()
    for part in path.read_text().strip().split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus
