"""The limit on open files: its soft default of 1,024 is made for select(2), which nothing here uses."""

import resource


def raise_limit(wanted: int) -> int:
    """Raise this process's soft limit to `wanted` descriptors, or as far as its hard limit goes.

    Never lowers it. Returns the limit that holds now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    better = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if better > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (better, hard))
    return max(soft, better)
