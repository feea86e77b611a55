"""The thread that names stored frames as debug files and new frames come."""

import logging
import threading
import time

from collector.debuginfo.debuginfod import Debuginfod
from collector.debuginfo.files import DebugFile, DebugFiles
from collector.debuginfo.naming import Naming
from collector.debuginfo.origin import Origin
from collector.debuginfo.workers import WorkerFailed
from fleetprof.errors import UnavailableError

log = logging.getLogger("fleetprof.debuginfo")

LOOK_EVERY_S = 5.0
"""For files that other processes put into the folder."""
NAME_NEW_EVERY_S = 30.0
"""For frames that agents sent meanwhile."""
FETCHES = 10
"""Build ids that are asked for upstream at a time, in each such round."""


class Namer:
    """Runs until `stop`. What cannot be done now is tried again."""

    def __init__(
        self,
        naming: Naming,
        files: DebugFiles,
        upstream: Debuginfod | None = None,
        look_every_s: float = LOOK_EVERY_S,
        name_new_every_s: float = NAME_NEW_EVERY_S,
    ) -> None:
        self._naming, self._files, self._upstream = naming, files, upstream
        self._look_every_s, self._name_new_every_s = look_every_s, name_new_every_s
        self._wake = threading.Event()
        self._stopping = False
        self._failing = ""
        self._named_new_s = 0.0
        self._nameless: frozenset[str] = frozenset()
        self._nameless_asked = False
        self._thread = threading.Thread(target=self._run, name="namer", daemon=True)
        self._thread.start()

    def nameless(self) -> frozenset[str]:
        """Builds with frames that nothing is known of, as of the round after the last question; of very many those
        with most."""
        self._nameless_asked = True
        return self._nameless

    def wake(self) -> None:
        """There is a new file."""
        self._wake.set()

    def stop(self) -> None:
        """End; what a worker does is ended by whoever owns the workers."""
        self._stopping = True
        if self._upstream:
            self._upstream.close()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                self._work()
            except UnavailableError as error:
                if not self._stopping and str(error) != self._failing:
                    log.warning("Frames cannot be named now, trying again: %s", error)
                self._failing = str(error)
            else:
                self._failing = ""
            self._wake.wait(self._look_every_s)

    def _work(self) -> None:
        files = self._files.all()
        for file in files:
            if not file.named and not file.problem and not self._stopping:
                self._name_all(file)
        if time.monotonic() - self._named_new_s < self._name_new_every_s and self._named_new_s:
            return
        self._named_new_s = time.monotonic()
        known = [file for file in files if file.named and not file.problem]
        for file, frames in self._naming.name_new(known):
            if self._stopping:
                return
            try:
                self._naming.name(file, frames)
            except WorkerFailed as failed:
                self._give_up(file, failed)
        if not (self._upstream or self._nameless_asked):
            return
        unnamed = self._naming.unnamed_builds()
        self._nameless, self._nameless_asked = frozenset(unnamed), False
        if self._upstream:
            self._fetch(self._upstream, unnamed, files)

    def _fetch(self, upstream: Debuginfod, unnamed: list[str], files: list[DebugFile]) -> None:
        """Fetch files of the builds that have most frames without a name, and of those that an agent named: the
        server's word counts more."""
        kept = {file.build_id for file in files}
        doubtful = [file.build_id for file in files if file.origin is Origin.AGENT]
        wanted = [
            build_id
            for build_id in [*(each for each in unnamed if each not in kept), *doubtful]
            if upstream.worth_asking(build_id)
        ]
        for build_id in wanted[:FETCHES]:
            if self._stopping:
                return
            if upstream.fetch(build_id):
                self.wake()

    def _name_all(self, file: DebugFile) -> None:
        before = self._naming.named
        try:
            self._naming.name_all(file)
        except WorkerFailed as failed:
            self._give_up(file, failed)
            return
        self._files.note(file, named=True)
        log.info("Debug file %s (%s) named %d frames.", file.build_id, file.name, self._naming.named - before)

    def _give_up(self, file: DebugFile, failed: WorkerFailed) -> None:
        log.warning("Debug file %s (%s) gives no names: %s", file.build_id, file.name, failed)
        self._files.note(file, named=False, problem=str(failed))
