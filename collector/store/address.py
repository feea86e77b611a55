"""The address of a ClickHouse server or cluster, as a URL.

clickhouse://user:password@host:9000,host2:9000/database?secure=1&ca=/etc/ssl/ch.pem&cluster=name
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from fleetprof.errors import InputError, UnavailableError

SCHEME = "clickhouse"
PASSWORD_VARIABLE = "FLEETPROF_STORE_PASSWORD"
EXAMPLE = "clickhouse://user@host:9000/fleetprof?password_file=/etc/fleetprof/store-password"

_PORT, _SECURE_PORT = 9000, 9440
_OPTIONS = {"secure", "ca", "certificate", "key", "password_file", "cluster"}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server is and how to get in. Hosts are tried in order."""

    hosts: tuple[tuple[str, int], ...]
    database: str = "fleetprof"
    user: str = "default"
    password: str = ""
    secure: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    cluster: str = ""

    def __str__(self) -> str:
        """The address without the password, for messages."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{SCHEME}://{self.user}@{hosts}/{self.database}"

    def __repr__(self) -> str:
        """As `str`: a password must not get into a traceback."""
        return f"ServerAddress({self})"


def is_server_address(text: str) -> bool:
    """Whether `text` names a server rather than a folder."""
    return text.startswith(f"{SCHEME}:")


def parse_server_address(text: str, environment: Mapping[str, str] = os.environ) -> ServerAddress:
    """Read a URL; the password comes from it, from `password_file`, or from FLEETPROF_STORE_PASSWORD.

    Raises InputError that says which part is wrong, UnavailableError for a file that cannot be read.
    """
    parts = urlsplit(text)
    if parts.scheme != SCHEME or not parts.netloc:
        raise _wrong(f"is not a URL that begins with {SCHEME}://host")
    options = _options(parts.query)
    secure = options.get("secure", "0")
    if secure not in ("0", "1"):
        raise _wrong(f'has secure={secure}; it is "1" for TLS or "0"')
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return ServerAddress(
        hosts=tuple(_host(each, secure == "1") for each in hosts.split(",")),
        database=_name(unquote(parts.path.strip("/")) or "fleetprof", "database"),
        user=unquote(user) or "default",
        password=_password(unquote(password), options.get("password_file"), environment),
        secure=secure == "1",
        ca=_file(options, "ca", secure),
        certificate=_file(options, "certificate", secure),
        key=_file(options, "key", secure),
        cluster=_name(options["cluster"], "cluster") if options.get("cluster") else "",
    )


def _wrong(what: str) -> InputError:
    return InputError(f"The store's address {what}.", f"It looks like {EXAMPLE}")


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs):
        raise _wrong("has an option twice")
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise _wrong(f'has an option "{unknown[0]}" that is none of {", ".join(sorted(_OPTIONS))}')
    return options


def _host(text: str, secure: bool) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise _wrong(f'has "{text}" where host:port should be')
    return host, port or (_SECURE_PORT if secure else _PORT)


def _name(text: str, what: str) -> str:
    """A name that becomes part of DDL; letters, digits and _ only, so that it never needs quotes."""
    if not (text.isascii() and text.replace("_", "a").isalnum()):
        raise _wrong(f'names the {what} "{text}"; letters, digits and _ are allowed')
    return text


def _file(options: Mapping[str, str], name: str, secure: str) -> Path | None:
    if not options.get(name):
        return None
    if secure != "1":
        raise _wrong(f"has {name}= but not secure=1")
    path = Path(options[name])
    if not path.is_file():
        raise UnavailableError(
            f"There is no file {path} ({name}= of the store's address).", "Correct the path."
        )
    return path


def _password(given: str, file: str | None, environment: Mapping[str, str]) -> str:
    if file is None:
        return given or environment.get(PASSWORD_VARIABLE, "")
    if given:
        raise _wrong("has a password and a password_file")
    try:
        return Path(file).read_text("utf-8").rstrip("\n")
    except OSError as error:
        raise UnavailableError(
            f"Cannot read the store's password from {file}: {error.strerror}.",
            "Correct password_file, or let this user read it.",
        ) from error
