"""One HTTP POST to a receiver."""

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from fleetprof import __version__

_SHOWN_BYTES = 300


class DeliveryError(Exception):
    """The receiver did not take the notification; the text says why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the token elsewhere, and turns POST into GET."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


# Receivers are named by the rules; a proxy of the environment is for other programs.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def post(url: str, body: bytes, key: str, timeout_s: float, token_file: Path | None) -> None:
    """POST JSON; any 2xx is taken for success. Raises DeliveryError for everything else.

    `key` is the Idempotency-Key header; "" for none. The token is read anew each time, so that it can change.
    """
    headers = {"Content-Type": "application/json", "User-Agent": f"fleetprof/{__version__}"}
    if key:
        headers["Idempotency-Key"] = key
    if token_file:
        headers["Authorization"] = f"Bearer {_token(token_file)}"
    try:
        request = urllib.request.Request(url, body, headers, method="POST")
        with _OPENER.open(request, timeout=timeout_s) as response:
            response.read(_SHOWN_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            raise DeliveryError(f"it answered {error.code}: {_shown(error)}".rstrip(": ")) from None
    except urllib.error.URLError as error:
        raise DeliveryError(_reason(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DeliveryError(_reason(error)) from None


def _token(path: Path) -> str:
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeliveryError(f"its token {path} cannot be read: {_reason(error)}") from None
    if not token.isprintable():
        raise DeliveryError(f"its token {path} is not one line of text")
    return token


def _shown(error: urllib.error.HTTPError) -> str:
    try:
        text = error.read(_SHOWN_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__
