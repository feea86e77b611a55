"""The agent's one connection to its collector, shared by windows and heartbeats.

It says on the log once what is wrong, in words that tell what to do, and again only when that changes; and it
takes renewed certificate files into use without a restart.
"""

import logging
import threading
import time

import grpc

from agent.pushback import asked_s
from agent.tls import explain, own_problem, trusted_bundle
from agent.token import Token, WithToken
from fleetprof.setting_kinds import Address
from fleetprof.tls import TlsFiles, read_files

log = logging.getLogger("fleetprof.connection")

EXPLAIN_EVERY_S = 30.0
"""A failure is looked into at most so often: this costs a connection of its own."""

_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.enable_http_proxy", 0),
)
_REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class Connection:
    """Calls to the collector at `address`. Safe to use from several threads."""

    def __init__(
        self,
        address: Address,
        files: TlsFiles | None = None,
        server_name: str = "",
        token: Token | None = None,
    ) -> None:
        """Connects lazily. Raises InputError for TLS files that cannot be used (expired ones can be)."""
        self.address = address
        self._files = files or TlsFiles()
        self._server_name = server_name
        self._token = token or Token()
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._unreachable = ""
        self._refusals: dict[str, str] = {}
        self._explained_s = -EXPLAIN_EVERY_S
        self._why = ""
        self._closed = False
        self._fingerprint = self._files.fingerprint()
        if self._files.on:
            read_files(self._files)
            if problem := own_problem(self._files):
                log.warning("%s", problem)
        self._channel = self._open()

    @property
    def channel(self) -> grpc.Channel:
        """The channel in use; ask for it at each call, since new certificates make a new one."""
        return self._channel

    def worked(self) -> None:
        """A call was answered."""
        with self._lock:
            was_away, self._unreachable = bool(self._unreachable), ""
        if was_away:
            log.info("Collector %s is back.", self.address)

    def failed(self, error: grpc.RpcError) -> None:
        """A call failed in a way that may mend itself: log why, once. May take some seconds."""
        if error.code() == grpc.StatusCode.CANCELLED:
            return  # by this agent: the channel was replaced
        if not self._looking.acquire(blocking=False):
            return  # another call's failure is being looked into
        try:
            self.renew()
            why = self._explain(error)
        finally:
            self._looking.release()
        with self._lock:
            if self._closed or why == self._unreachable:
                return
            self._unreachable = why
        log.warning("Collector %s %s: %s Windows wait; retrying.", self.address, _how(error), why)

    def refused(self, what: str, why: str) -> None:
        """The collector refused `what` (such as "a window") for good: log why, once in a row."""
        with self._lock:
            news = self._refusals.get(what) != why
            self._refusals[what] = why
        if news:
            log.error("Collector %s refused %s: %s", self.address, what, why)

    def accepted(self, what: str) -> None:
        """The collector took `what`, which it may have refused before."""
        with self._lock:
            self._refusals.pop(what, None)

    def close(self) -> None:
        """End all calls."""
        with self._lock:
            self._closed = True
            self._channel.close()

    def _open(self) -> grpc.Channel:
        return grpc.intercept_channel(self._open_bare(), WithToken(self._token))

    def _open_bare(self) -> grpc.Channel:
        if not self._files.on:
            return grpc.insecure_channel(str(self.address), options=_OPTIONS)
        contents = read_files(self._files)
        credentials = grpc.ssl_channel_credentials(
            contents.ca or trusted_bundle(), contents.key, contents.certificate
        )
        name = (("grpc.ssl_target_name_override", self._server_name),) if self._server_name else ()
        return grpc.secure_channel(str(self.address), credentials, options=(*_OPTIONS, *name))

    def renew(self) -> None:
        """Use TLS files that were replaced since they were read; cheap where none was."""
        fingerprint = self._files.fingerprint()
        if fingerprint == self._fingerprint or own_problem(self._files):
            return
        with self._lock:
            if self._closed:
                return
            before, self._channel = self._channel, self._open()
        self._fingerprint, self._explained_s = fingerprint, -EXPLAIN_EVERY_S
        before.close()
        log.info("The TLS files have changed and are in use.")

    def _explain(self, error: grpc.RpcError) -> str:
        lost = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        if not lost or asked_s(error):
            return f"{(error.details() or error.code().name).rstrip('.')}."
        now_s = time.monotonic()
        if now_s - self._explained_s >= EXPLAIN_EVERY_S or not self._why:
            found = explain(self.address, self._files, self._server_name)
            self._why = found or f"{(error.details() or error.code().name).rstrip('.')}."
            self._explained_s = time.monotonic()
        return self._why


def _how(error: grpc.RpcError) -> str:
    if error.code() in _REFUSALS:
        return "refuses this agent"
    return "asks to come later" if asked_s(error) else "cannot be reached"
