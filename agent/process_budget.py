"""What following processes may cost: tokens that fill with time, saved up to a burst."""

from time import monotonic_ns


class Budget:
    """A token bucket, full at first: `per_s` tokens come each second, at most `burst` are saved."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._tokens = burst
        self._filled_ns = monotonic_ns()
        self.starved = False
        """Whether the last wish was refused."""

    def take(self) -> bool:
        """Spend one token, if there is one."""
        self._fill()
        self.starved = self._tokens < 1
        if not self.starved:
            self._tokens -= 1
        return not self.starved

    def spend(self, tokens: float) -> None:
        """Spend what is spent already, if need be on credit."""
        self._fill()
        self._tokens -= tokens

    def wait_ns(self) -> int:
        """How long until the credit is paid back; 0 when there is none."""
        self._fill()
        return 0 if self._tokens >= 0 else int(-self._tokens / self._per_s * 1e9) + 1

    def _fill(self) -> None:
        now_ns = monotonic_ns()
        self._tokens = min(self._burst, self._tokens + (now_ns - self._filled_ns) * self._per_s / 1e9)
        self._filled_ns = now_ns
