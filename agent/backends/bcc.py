"""The BCC backend: the CPU program compiled on the host by BCC, Debian's python3-bpfcc.

The program calls helpers only, so no kernel header is needed and none of a wrong version can mislead it:
reading kernel structures with headers that do not match is silently wrong. For the same reason there is no
scheduler program here; its place is with the BTF of backend `core`.
"""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from agent.backends.bcc_loader import MAPS
from agent.backends.cpu_sampler import CpuProgram, CpuSampler, CpuSettings
from agent.backends.interface import BackendCost, BackendOptions, Closed, Drained, Unavailable, not_unwound
from agent.backends.run_time import RunTime
from agent.cpus import ONLINE_CPUS
from agent.libbpf import OBJECTS, memlock_bytes, program_run_time
from agent.samples import empty
from agent.unwind.kernel_tables import KernelTables
from fleetprof.errors import UnavailableError
from fleetprof.losses import Losses

FOLDERS = (Path("/usr/lib/python3/dist-packages/bcc"), Path("/usr/lib/python3/site-packages/bcc"))
_COMPILE_SECONDS = 60


def find_bcc(folders: tuple[Path, ...] = FOLDERS) -> Path:
    """The folder of the distribution's package `bcc`; raises UnavailableError.

    The package of that name on PyPI is something else: ours has a libbcc.py.
    """
    for folder in folders:
        if (folder / "libbcc.py").exists():
            return folder
    raise UnavailableError("BCC is not installed.", "Install it: apt install python3-bpfcc (Debian, Ubuntu).")


class BccBackend:
    """Samples every CPU with the program of cpu.bpf.c, compiled here; see CoreBackend for the arguments."""

    name = "bcc"
    unwind_tables: KernelTables | None = None

    def __init__(
        self,
        options: BackendOptions,
        online: Path = ONLINE_CPUS,
        ring_bytes: int = 0,
        folders: tuple[Path, ...] = FOLDERS,
    ) -> None:
        settings = CpuSettings.of(options, ring_bytes)
        self.period_ns = settings.period_ns
        why = "needs kernel structures, which BCC reads wrongly when headers do not match; use backend core"
        why = why if options.sched else "turned off"
        self.unavailable: tuple[Unavailable, ...] = (Unavailable("sched", why), *not_unwound(options))
        with ExitStack() as undo:
            descriptors = load(find_bcc(folders), settings)
            for fd in descriptors:
                undo.callback(os.close, fd)
            self._program_fd, *self._map_fds = descriptors
            maps = dict(zip(MAPS, self._map_fds, strict=True))
            program = CpuProgram(self._program_fd, maps["captures"], maps["losses"], maps["only_pids"])
            self._sampler = CpuSampler(program, settings, options, online)
            undo.callback(self._sampler.close)
            self._run_time = RunTime(lambda: program_run_time(self._program_fd)[0])
            undo.callback(self._run_time.close)
            self._release = undo.pop_all()

    def drain(self) -> Drained:
        """CPU samples since the last drain."""
        self._run_time.tick()
        return Drained(*self._sampler.drain())

    def fill(self) -> float:
        """See Backend."""
        self._run_time.tick()
        return self._sampler.fill()

    def close_window(self) -> Closed:
        """No thread times; CPUs that came or went are followed here."""
        self._sampler.follow_hotplug()
        return Closed(None, empty(), Losses())

    def cost(self) -> BackendCost:
        """Run time of the program (sampled, see run_time.py) and memory of its maps."""
        return BackendCost(self._run_time.total_ns, sum(memlock_bytes(fd) for fd in self._map_fds))

    def close(self) -> None:
        """Detach and free everything; safe to call twice."""
        self._release.close()


def load(folder: Path, settings: CpuSettings) -> list[int]:
    """Descriptors of the loaded program and its maps (bcc_loader.MAPS); raises UnavailableError."""
    source = OBJECTS / "cpu.bcc.c"
    if not os.access(source, os.R_OK):
        raise UnavailableError(
            f"The program for BCC is not built ({source}).", "Build it: make bpf (needs clang)."
        )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        status, complaints = _run_loader([str(folder), str(theirs.fileno()), *_constants(settings)], theirs)
        if status:
            raise UnavailableError(f"BCC cannot load the program: {_reason(complaints)}", _hint(complaints))
        _, descriptors, _, _ = socket.recv_fds(ours, 64, 1 + len(MAPS))
    return list(descriptors)


def _run_loader(arguments: list[str], channel: socket.socket) -> tuple[int, str]:
    """Exit status and what the loader wrote to stderr."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "agent.backends.bcc_loader", *arguments],
            pass_fds=(channel.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_COMPILE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"BCC did not compile the program within {_COMPILE_SECONDS} s.") from error
    except OSError as error:
        raise UnavailableError(f"Cannot start {sys.executable} to run BCC: {error.strerror}.") from error
    return done.returncode, done.stderr.decode("utf-8", "replace")


def _constants(settings: CpuSettings) -> list[str]:
    return [
        f"period_ns={settings.period_ns}ULL",
        f"stack_bytes={settings.stack_bytes}",
        f"filter_pids={settings.filter_pids}",
        f"ring_pages={settings.ring_bytes // os.sysconf('SC_PAGE_SIZE')}",
        f"pid_count={settings.pid_count}",
    ]


def _reason(complaints: str) -> str:
    """The one line that says most: the compiler's first error, else the last line."""
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    return (errors or lines[-1:] or ["no message"])[0]


def _hint(complaints: str) -> str:
    if "permitted" in complaints or "Permission" in complaints:
        return "BPF needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE."
    return "Run `fleetprof-agent doctor` to see what this host offers."
