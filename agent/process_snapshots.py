"""Makes a Process of an image: read from /proc while it is alive, copied from the process that forked it, or
put together from what the kernel's records told."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from time import monotonic_ns

from agent.object_files import ObjectFiles
from agent.process import Mapping, Process
from agent.process_images import Image, Origin
from agent.process_reader import ProcessReader, VariableNames, monotonic_of_ticks, other_thread

SETTLED_NS = 80_000_000
"""An exec is told before it is complete: arguments and environment come some 100 us later, or when the disk
has delivered the program. A process that shows none is taken as it is when it is older than this."""


class Snapshots:
    """Reads processes, keeping the environment variables in `names` (a final `*` makes a name a prefix)."""

    def __init__(self, names: Iterable[str], files: ObjectFiles) -> None:
        self._names = VariableNames(names)
        self._files = files

    def read(self, image: Image) -> bool:
        """Look at the process behind an image that is its pid's current one; False when it has gone.

        An image that the process has not quite become yet keeps `process` None, or without arguments, and
        is not `complete`: read it again a moment later.
        """
        try:
            with ProcessReader(image.pid) as reader:
                if image.origin is Origin.EXECED:
                    self._read_execed(image, reader)
                else:
                    self._read_whole(image, reader)
        except (OSError, ValueError):
            return False  # nearly always gone; whatever else the kernel refuses leaves as little to know
        return True

    def _read_execed(self, image: Image, reader: ProcessReader) -> None:
        exe = reader.exe()
        image.settle()
        settled = monotonic_ns() - image.start_ns > SETTLED_NS
        if not _is_exe_of(exe, image.mappings) and not settled:
            return  # the records of a later exec are still to come, or those of this one
        environment, began = reader.environment(self._names)
        image.complete = began or settled
        process = self._process(image, reader, exe, environment)
        process.mappings = image.mappings
        if image.process is None:
            image.process = process
        else:  # somebody may hold the first, incomplete one
            for name in ("exe", "environment", "command_line", "cgroup", "namespace_pid"):
                setattr(image.process, name, getattr(process, name))

    def _process(self, image: Image, reader: ProcessReader, exe: str, environment: dict[str, str]) -> Process:
        return Process(
            pid=image.pid,
            namespace_pid=reader.namespace_pid(),
            start_ns=image.start_ns,
            comm=image.comm,
            exe=exe,
            command_line=reader.command_line(),
            environment=environment,
            cgroup=reader.cgroup(),
            parent_pid=image.parent_pid,
        )

    def _read_whole(self, image: Image, reader: ProcessReader) -> None:
        """Read all there is, mappings too: nothing is known from records."""
        stat = reader.stat()
        if stat.state in "ZX":
            thread = other_thread(image.pid) if stat.threads > 1 else None
            if thread is None:
                raise ProcessLookupError(image.pid)
            with ProcessReader(image.pid, thread) as living:
                self._fill(image, living)
        else:
            self._fill(image, reader)

    def _fill(self, image: Image, reader: ProcessReader) -> None:
        stat = reader.stat()
        image.start_ns = image.start_ns or monotonic_of_ticks(stat.start_ticks)
        image.comm, image.parent_pid = stat.comm, stat.parent_pid
        image.complete = True
        if stat.is_kernel:
            image.process = Process(image.pid, image.pid, image.start_ns, stat.comm, "", is_kernel=True)
            return
        image.mappings = reader.mappings()
        environment, _ = reader.environment(self._names)
        image.process = self._process(image, reader, reader.exe(), environment)
        image.process.mappings = image.mappings
        self.open_files(image)

    def inherit(self, image: Image, parent: Process) -> Process:
        """The process of a FORKED image: a copy of `parent` until it execs."""
        image.mappings = parent.mappings
        namespace_pid = image.pid if parent.namespace_pid == parent.pid else 0
        if not image.end_ns:
            with suppress(OSError), ProcessReader(image.pid) as reader:
                namespace_pid = reader.namespace_pid()
        image.process = replace(
            parent,
            pid=image.pid,
            namespace_pid=namespace_pid,
            start_ns=image.start_ns,
            comm=image.comm,
            parent_pid=image.parent_pid,
        )
        image.complete = True
        return image.process

    def from_records(self, image: Image) -> Process | None:
        """The process of an EXECED image that ended unread: its first mapping is its executable.

        Environment and arguments stay unknown; the cgroup is the one of the image before it.
        """
        image.settle()
        first = next((mapping for mapping in image.mappings if mapping.inode), None)
        if first is None:
            return None
        image.process = Process(
            pid=image.pid,
            namespace_pid=0,
            start_ns=image.start_ns,
            comm=image.comm,
            exe=first.path,
            cgroup=image.cgroup,
            mappings=image.mappings,
            parent_pid=image.parent_pid,
        )
        image.complete = True
        return image.process

    def open_files(self, image: Image) -> None:
        """Have the files of all mappings kept open."""
        if image.process is not None:
            for mapping in image.mappings:
                self._files.remember(image.process, mapping)

    def add_build_id(self, process: Process) -> None:
        """Find the build id of the executable, if it is not known and its file can be read."""
        if process.exe and not process.exe_build_id:
            mapping = next((one for one in process.mappings if _is_path_of(process.exe, one)), None)
            if mapping is not None:
                process.exe_build_id = self._files.build_id(mapping)


def _is_path_of(exe: str, mapping: Mapping) -> bool:
    """Whether a mapping is of the executable.

    The link says " (deleted)" for a file that went after it was mapped, and, for a process in a chroot,
    begins with the path of its root.
    """
    return bool(mapping.inode) and exe.removesuffix(" (deleted)").endswith(
        mapping.path.removesuffix(" (deleted)")
    )


def _is_exe_of(exe: str, mappings: list[Mapping]) -> bool:
    """Whether the link /proc/PID/exe belongs to an image with these mappings."""
    return any(_is_path_of(exe, mapping) for mapping in mappings)
