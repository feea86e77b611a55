"""Asks a fleetprof server over its HTTP API."""

import os
from typing import Any

import requests

from fleetprof.errors import FleetprofError, InputError, UnavailableError

DEFAULT_SERVER = "http://127.0.0.1:8080"
SERVER_VARIABLE = "FLEETPROF_SERVER"
_CONNECT_S, _ANSWER_S = 5, 60

Parameters = dict[str, str | int | float]


def default_server() -> str:
    """The server that the environment names, else this machine's."""
    return os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER


class Client:
    """One server. Its methods raise UnavailableError when it does not answer, InputError when it refuses."""

    def __init__(self, server: str) -> None:
        """`server` is a URL; host:port alone means http. Raises InputError for anything else."""
        url = server if "://" in server else f"http://{server}"
        if not url.startswith(("http://", "https://")) or not url.partition("://")[2].strip("/"):
            raise InputError(f'"{server}" is not the URL of a server.', f"Example: {DEFAULT_SERVER}.")
        self.url = url.rstrip("/")
        self._session = requests.Session()

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
        kind = InputError if response.status_code in (400, 404) else UnavailableError
        return kind(str(body["error"]), str(body.get("hint", "")))

    def _is_no_fleetprof(self) -> UnavailableError:
        return UnavailableError(
            f"What answers at {self.url} is not a fleetprof server.", "Check --server: host and port."
        )
