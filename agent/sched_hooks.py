"""What the running kernel offers to the scheduler program, and the variant of it that fits."""

import os
from dataclasses import dataclass

from agent.kernel_btf import Btf
from fleetprof.errors import UnavailableError

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO, the same on every kernel."""


@dataclass(frozen=True, slots=True)
class SchedHooks:
    """Which variant to load."""

    state_argument: bool
    """sched_switch tells the state of the thread that leaves (5.18+)."""
    resume_event: bool
    """sched_exit_tp runs when a switch is over (6.14+): stacks are taken after the wait, else before it."""

    @property
    def switch_program(self) -> str:
        """The program to load for sched_switch."""
        return "sched_switch" if self.state_argument else "sched_switch_3"


def probe_hooks() -> SchedHooks:
    """Ask the kernel. Raises UnavailableError saying what is missing."""
    if os.readlink("/proc/self/ns/pid") != INITIAL_PID_NAMESPACE:
        raise UnavailableError(
            "The agent runs in a pid namespace of its own and cannot see the host's threads.",
            "Share the host's: `docker run --pid=host`, or hostPID: true in Kubernetes.",
        )
    with Btf() as btf:
        arguments = btf.tracepoint_arguments("sched_switch")
        if arguments is None or btf.tracepoint_arguments("sched_wakeup") is None:
            raise UnavailableError("This kernel has no scheduler tracepoints for BPF (tp_btf, Linux 5.5).")
        if not btf.has_function("bpf_task_storage_get"):
            raise UnavailableError("This kernel cannot keep BPF state with its threads (Linux 5.11).")
        resume_event = btf.tracepoint_arguments("sched_exit_tp") is not None
    return SchedHooks(state_argument=arguments >= 4, resume_event=resume_event)
