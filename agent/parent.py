"""Ties the agent's life to the process that started it, for `fleetprof up`."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Get SIGTERM when the thread that started this process ends (prctl(2), PR_SET_PDEATHSIG).

    The agent asks for it itself: a preexec_fn in the parent would make it fork with gRPC's threads running.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        os.kill(os.getpid(), signal.SIGTERM)  # the parent ended before the line above
