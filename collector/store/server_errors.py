"""clickhouse-driver's errors as the store's, with one message for each way in which a server is not there."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_driver import errors

from collector.store.address import ServerAddress
from collector.store.errors import StoreAway, StoreError, StoreRefused, parse

_UNKNOWN_DATABASE = 81
_LOGIN = {192, 193, 194, 516}
_RIGHTS = {164, 291, 392, 497}
_PROTOCOL = (EOFError, errors.UnexpectedPacketFromServerError, errors.UnknownPacketFromServerError)


@contextmanager
def typed_errors(address: ServerAddress) -> Iterator[None]:
    """Turns what the driver raises inside into StoreError and its kinds."""
    try:
        yield
    except errors.ServerException as error:
        raise _from_server(error, address) from error
    except ssl.SSLError as error:
        raise _no_tls(error, address) from error
    except (errors.NetworkError, errors.SocketTimeoutError, OSError) as error:
        raise _away(error, address) from error
    except _PROTOCOL as error:
        raise StoreAway(
            210,
            f"The connection to the store {address} broke.",
            "If it never works, check that the port speaks ClickHouse's native protocol (9000, TLS 9440), "
            "and secure=1 in the address where it wants TLS.",
        ) from error


def _from_server(error: errors.ServerException, address: ServerAddress) -> StoreError:
    text = str(error.message).split("Stack trace:")[0].strip()
    if error.code in _LOGIN:
        return StoreRefused(
            error.code,
            f"The store {address} does not let user {address.user} in: {_sentence(text)}",
            "Correct user and password of the store's address (password_file, FLEETPROF_STORE_PASSWORD).",
        )
    if error.code in _RIGHTS:
        return StoreRefused(
            error.code,
            f"User {address.user} may not do this in the store {address}: {_sentence(text)}",
            "Give the user all rights on the database.",
        )
    if error.code == _UNKNOWN_DATABASE:
        return StoreRefused(
            error.code,
            f"The store {address} has no database {address.database}.",
            "Run: fleetprof-collector migrate",
        )
    return parse(f"Code: {error.code}. {text}")


def _sentence(text: str) -> str:
    return text.removeprefix("DB::Exception: ").removeprefix("DB::Exception. ")[:300]


def _no_tls(error: Exception, address: ServerAddress) -> StoreError:
    reason = getattr(error, "verify_message", "") or getattr(error, "message", "") or str(error)
    return StoreAway(
        210,
        f"The store {address} and this collector cannot agree on TLS: {reason}.",
        "Check ca= of the store's address, the server's name in its certificate, and that the port takes TLS.",
    )


def _away(error: Exception, address: ServerAddress) -> StoreError:
    # The driver keeps only the text of what went wrong below it.
    text = str(getattr(error, "message", None) or error)
    if "[SSL" in text or "CERTIFICATE" in text:
        return _no_tls(error, address)
    if isinstance(error, errors.SocketTimeoutError | TimeoutError):
        return StoreAway(
            210,
            f"The store {address} does not answer.",
            "Check that it runs, and that its port speaks ClickHouse's native protocol (9000, with TLS 9440).",
        )
    return StoreAway(
        210,
        f"The store {address} is not there: {text.strip()}.",
        "Start the server, or correct the store's address.",
    )
