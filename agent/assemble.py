"""Puts the agent's parts together from its configuration."""

import logging
import os
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from agent.backends.interface import Backend
from agent.backends.probe import choose
from agent.config import AgentConfig
from agent.cpython.python_frames import PythonFrames
from agent.cpython.symbols import PythonSymbols
from agent.debug_offers.sightings import Sightings
from agent.identify.identifier import ENVIRONMENT_NAMES, Identifier
from agent.jvm.java_frames import JavaFrames
from agent.jvm.refresh import JvmMaps
from agent.object_files import ObjectFiles
from agent.pipeline import Parts
from agent.places import PlaceSums
from agent.processes import ProcessTable
from agent.resolve import Symbols
from agent.scope import scope_of
from agent.symbolize.symbolizer import Symbolizer
from agent.unwind.objects import TableBuilder
from agent.unwind.table_files import TableFiles
from agent.unwind.unwinder import Unwinder

log = logging.getLogger("fleetprof.agent")


class Assembly(AbstractContextManager["Assembly"]):
    """The running parts of an agent; leaving the context detaches everything from the kernel.

    `options` override fields of BackendOptions (such as only_pids).
    """

    def __init__(self, config: AgentConfig, **options: Any) -> None:
        # Processes first: what starts while the backend attaches is then already followed.
        files = ObjectFiles()
        self._processes = ProcessTable(
            limit=config.process_limit, environment_names=ENVIRONMENT_NAMES, files=files
        )
        try:
            self._backend = choose(config.backend, config.backend_options(**options))
        except BaseException:
            self._processes.close()
            raise
        for missing in self._backend.unavailable:
            log.warning("%s is off: %s", missing.program, missing.why)
        self._unwinder = _unwinder(config, self._backend, files)
        if self._unwinder:
            self._processes.on_exec = self._unwinder.follow
        self._java = JvmMaps(config.symbol_memory_bytes // 4) if config.java_names else None
        self.sightings = Sightings() if config.offer_debug_files == "auto" else None
        """Files with samples; nothing is noted until somebody asks for it."""
        native = Symbolizer(files, config.symbol_memory_bytes, asked=self._java, seen=self.sightings)
        identifier = Identifier(config.identity())
        self.parts = Parts(
            backend=self._backend,
            processes=self._processes,
            symbols=_symbols(native, self._unwinder),
            identifier=identifier,
            host_labels=identifier.host_labels(),
            cpu_count=os.cpu_count() or 1,
            scope=scope_of(config.scope),
            unwinder=self._unwinder,
            java=self._java,
            places=PlaceSums(native, config.source_lines) if config.source_lines else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._java:
            self._java.close()
        if self._unwinder:
            self._unwinder.close()
        self._backend.close()
        self._processes.close()


def _unwinder(config: AgentConfig, backend: Backend, files: ObjectFiles) -> Unwinder | None:
    if backend.unwind_tables is None:
        return None
    builder = TableBuilder(TableFiles(config.state_dir / "unwind"))
    python = backend.unwind_tables.python
    frames = PythonFrames(python, files) if python else None
    java = JavaFrames(backend.unwind_tables.hotspot_fd, files)
    return Unwinder(backend.unwind_tables, files, builder, config.unwind_memory_bytes, frames, java)


def _symbols(native: Symbolizer, unwinder: Unwinder | None) -> Symbols:
    if unwinder is None or unwinder.python is None:
        return native
    return PythonSymbols(native, unwinder.python)
