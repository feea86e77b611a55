"""Asks a fleetprof server over its HTTP API."""

import argparse
import os
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from fleetprof.errors import FleetprofError, InputError, UnavailableError

DEFAULT_SERVER = "http://127.0.0.1:8080"
SERVER_VARIABLE = "FLEETPROF_SERVER"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "FLEETPROF_TOKEN", "FLEETPROF_TOKEN_FILE"
_CONNECT_S, _ANSWER_S = 5, 60

Parameters = dict[str, str | int | float]


def default_server() -> str:
    """The server that the environment names, else this machine's."""
    return os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER


def token_of(given: argparse.Namespace) -> str:
    """The token of the options or the environment, "" for none; raises InputError."""
    if given.token:
        return str(given.token)
    path = given.token_file or ("" if os.environ.get(TOKEN_VARIABLE) else os.environ.get(TOKEN_FILE_VARIABLE))
    if not path:
        return os.environ.get(TOKEN_VARIABLE, "")
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it holds no token"
        raise InputError(f"The token file {path} cannot be read: {why}.", "Check --token-file.") from None


def client_of(given: argparse.Namespace) -> "Client":
    """The client of a command's options."""
    return Client(given.server, token_of(given))


class Client:
    """One server. Its methods raise UnavailableError when it does not answer, InputError when it refuses."""

    def __init__(self, server: str, token: str = "") -> None:
        """`server` is a URL; host:port alone means http. Raises InputError for anything else."""
        url = server if "://" in server else f"http://{server}"
        if not url.startswith(("http://", "https://")) or not url.partition("://")[2].strip("/"):
            raise InputError(f'"{server}" is not the URL of a server.', f"Example: {DEFAULT_SERVER}.")
        self.url = url.rstrip("/")
        self._session = requests.Session()
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def json(self, route: str, parameters: Parameters) -> dict[str, Any]:
        """The answer of a route under /api/v1."""
        return self._object(self._get(route, parameters))

    def send(self, method: str, route: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """The answer of a request that changes something."""
        meant = {"X-Fleetprof": "1"}
        return self._object(self._ask(method, route, json=body, headers=meant))

    def data(self, route: str, parameters: Parameters) -> bytes:
        """The same as bytes: for downloads."""
        return self._get(route, parameters).content

    def _get(self, route: str, parameters: Parameters) -> requests.Response:
        return self._ask("GET", route, params={n: value for n, value in parameters.items() if value != ""})

    def _object(self, response: requests.Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except requests.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise self._is_no_fleetprof()
        return answer

    def _ask(self, method: str, route: str, **how: Any) -> requests.Response:
        try:
            response = self._session.request(
                method, f"{self.url}/api/v1/{route}", timeout=(_CONNECT_S, _ANSWER_S), **how
            )
        except requests.Timeout:
            raise UnavailableError(
                f"The server at {self.url} did not answer in time.", "Shorten the range, or try again."
            ) from None
        except requests.ConnectionError:
            raise UnavailableError(
                f"No fleetprof server answers at {self.url}.",
                f"Start one with: fleetprof up. Or name another with --server or {SERVER_VARIABLE}.",
            ) from None
        except requests.RequestException as error:
            raise InputError(f"Cannot ask {self.url}: {error}.", f"Example: {DEFAULT_SERVER}.") from None
        if response.status_code != 200:
            raise self._refusal(response)
        return response

    def _refusal(self, response: requests.Response) -> FleetprofError:
        try:
            body = response.json()
        except requests.JSONDecodeError:
            return self._is_no_fleetprof()
        if not isinstance(body, dict) or "error" not in body:
            return self._is_no_fleetprof()
        status, hint = response.status_code, str(body.get("hint", ""))
        if status == HTTPStatus.UNAUTHORIZED:
            hint = f"Give one with --token-file FILE, or in {TOKEN_VARIABLE}."
        kind = InputError if status in (400, 401, 403, 404) else UnavailableError
        return kind(str(body["error"]), hint)

    def _is_no_fleetprof(self) -> UnavailableError:
        return UnavailableError(
            f"What answers at {self.url} is not a fleetprof server.", "Check --server: host and port."
        )
