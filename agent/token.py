"""The token by which an agent shows that it may push: from a setting, or a file that may change."""

from pathlib import Path
from typing import Any

import grpc

from fleetprof.errors import InputError

_MAX_BYTES = 4096


class Token:
    """The token to send now; "" for none. A file is read again when it changes; an unreadable one is as before."""

    def __init__(self, text: str = "", path: Path | None = None) -> None:
        """Raises InputError where both are given, the file cannot be read, or it holds no token."""
        if text and path:
            raise InputError("Both token and token_file are set.", "Set one of them.")
        self._path = path
        self._stamp = _stamp(path) if path else None
        self._text = _checked(_read(path), f"The file {path}") if path else text and _checked(text, "token")

    def current(self) -> str:
        """The token; cheap enough for each call."""
        if self._path and (stamp := _stamp(self._path)) not in (None, self._stamp):
            self._stamp = stamp
            try:
                self._text = _checked(_read(self._path), "")
            except InputError:
                pass  # half-written: the next look finds it whole
        return self._text


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise InputError(
            f"The token file {path} cannot be read: {error.strerror}.",
            "Check token_file: its path, and that this user may read it.",
        ) from None


def _checked(text: str, name: str) -> str:
    """`text` without white space around it; raises InputError, which never holds the text itself."""
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"{name} holds no token.", "Make one with: fleetprof-collector token create --scope ingest NAME."
        )
    return token


class WithToken(grpc.UnaryUnaryClientInterceptor):
    """Adds the token to each call."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """The call with the header `authorization: Bearer …`."""
        token = self._token.current()
        if token:
            metadata = [*(client_call_details.metadata or ()), ("authorization", f"Bearer {token}")]
            client_call_details = client_call_details._replace(metadata=metadata)
        return continuation(client_call_details, request)
