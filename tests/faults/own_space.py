"""A network and mounts of a run's own: runs side by side do not take each other's ports, or leave mounts behind."""

import os
import subprocess
import sys

_THERE = "FLEETPROF_FAULTS_OWN_SPACE"


def enter_own_space(module: str) -> None:
    """Leave the host's network and mounts, by starting this process's `module` anew; needs root.

    Anew, as threads that are there already (chDB's) would stay behind.
    """
    if _THERE not in os.environ:
        again = [sys.executable, "-m", module, *sys.argv[1:]]
        os.environ[_THERE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", *again])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
