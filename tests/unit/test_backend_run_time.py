"""Run time of BPF programs extrapolated from slices in which the kernel counts."""

import errno
from collections.abc import Callable

from agent.backends.run_time import INTERVAL_NS, SLICE_NS, RunTime
from agent.libbpf import BpfError

STEP_NS = 100_000_000


class Kernel:
    """Programs that use 1 % of a CPU, counted only while statistics are on."""

    def __init__(self) -> None:
        self.now_ns = 1_000
        self.counted_ns = 5_000_000
        self.on = 0
        self.on_for_ns = 0

    def enable(self) -> Callable[[], None]:
        self.on += 1

        def disable() -> None:
            self.on -= 1

        return disable

    def pass_time(self, share: float = 0.01) -> None:
        self.now_ns += STEP_NS
        if self.on:
            self.counted_ns += int(share * STEP_NS)
            self.on_for_ns += STEP_NS


def test_the_slice_stands_for_the_whole_interval() -> None:
    kernel = Kernel()
    run_time = RunTime(lambda: kernel.counted_ns, kernel.enable, lambda: kernel.now_ns)
    began, totals = kernel.now_ns, []
    for _ in range(10 * INTERVAL_NS // STEP_NS + SLICE_NS // STEP_NS):
        kernel.pass_time()
        run_time.tick()
        totals.append(run_time.total_ns)
    assert totals == sorted(totals)
    assert abs(run_time.total_ns / (kernel.now_ns - began) - 0.01) < 0.0001
    assert kernel.on_for_ns / (kernel.now_ns - began) < 0.06
    run_time.close()
    assert kernel.on == 0


def test_a_late_tick_makes_a_longer_slice_not_a_wrong_figure() -> None:
    kernel = Kernel()
    run_time = RunTime(lambda: kernel.counted_ns, kernel.enable, lambda: kernel.now_ns)
    began = kernel.now_ns
    for _ in range(30):
        kernel.pass_time()
    run_time.tick()
    assert abs(run_time.total_ns / (kernel.now_ns - began) - 0.01) < 0.0001


def test_a_kernel_without_statistics_tells_nothing() -> None:
    kernel = Kernel()

    def refuse() -> Callable[[], None]:
        raise BpfError("Cannot turn on BPF statistics", errno.EINVAL)

    run_time = RunTime(lambda: kernel.counted_ns, refuse, lambda: kernel.now_ns)
    for _ in range(300):
        kernel.pass_time()
        run_time.tick()
    assert run_time.total_ns == 0
    run_time.close()
