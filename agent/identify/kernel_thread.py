"""Names of kernel threads without the CPU, device or number they carry."""

import re

SERVICE = "kernel"
"""The service that all kernel threads belong to."""

_NUMBER = re.compile(r"[-_.:]?\d+\Z")


def base_name(comm: str) -> str:
    """`kworker/0:1-events` → `kworker`, `kswapd0` → `kswapd`, `jbd2/vda1-8` → `jbd2`.

    What follows a slash names a CPU, a device or a queue; without one, a number at the end does.
    """
    head, slash, _ = comm.partition("/")
    return head if slash and head else _NUMBER.sub("", comm) or comm
