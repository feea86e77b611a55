"""Why a request is turned away: for good (Refused), or for now (Later)."""

from fleetprof.losses import DropReason


class Refused(Exception):
    """The request can never be stored; counted under `reason`, answered with one sentence."""

    def __init__(self, reason: DropReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Later(Exception):
    """The request is good but cannot be stored now; the sender keeps it and tries again after `retry_ms`."""

    def __init__(self, message: str, retry_ms: int = 1000, overloaded: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.retry_ms = retry_ms
        self.overloaded = overloaded


def malformed(message: str) -> Refused:
    """A request that does not keep to the contract."""
    return Refused(DropReason.MALFORMED, message)
