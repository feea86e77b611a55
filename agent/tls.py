"""Tells why a connection to the collector does not come about: gRPC's own words do not.

The same connection is tried with Python's ssl, whose errors name the reason: an expired certificate, an
authority that is not trusted, another name, a peer without TLS (or with, where none is configured).
"""

import socket
import ssl
import time
from pathlib import Path

from fleetprof.errors import InputError
from fleetprof.setting_kinds import Address
from fleetprof.tls import TlsFiles, ca_problem, certificate_validity, read_files

CONNECT_S = 5.0
_SILENCE_S = 2.0
"""A gRPC server speaks first (its HTTP/2 settings); one that refused our certificate says so at once."""

_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})
"""X509_V_ERR_* of openssl/x509_vfy.h."""

_CHECK_FILES = "Check tls_certificate and tls_key of the agent and tls_client_ca of the collector."


def explain(address: Address, files: TlsFiles, server_name: str, timeout_s: float = CONNECT_S) -> str:
    """Why the collector at `address` cannot be reached, in a sentence or two; "" when TCP and TLS work.

    Takes up to two `timeout_s`.
    """
    if files.on and (problem := own_problem(files)):
        return problem
    try:
        connection = socket.create_connection(address, timeout_s)
    except TimeoutError:
        return f"No answer from {address} within {timeout_s:g} s."
    except OSError as error:
        return f"{error.strerror or error}."
    with connection:
        connection.settimeout(timeout_s)
        if files.on:
            return _explain_tls(connection, address, files, server_name)
        return _explain_plain(connection, address)


def own_problem(files: TlsFiles, now_s: float | None = None) -> str:
    """What is wrong with the agent's own files, in a sentence or two; "" when nothing is."""
    try:
        read_files(files)
        if files.certificate:
            problem = certificate_validity(files.certificate).problem(now_s)
            if problem:
                return f"{problem} It is this agent's own (tls_certificate)."
        if files.ca and (problem := ca_problem(files.ca, now_s)):
            return f"{problem} It is the authority that this agent trusts (tls_ca)."
    except InputError as error:
        return error.message
    return ""


def trusted_bundle() -> bytes | None:
    """The system's authorities, for agents without tls_ca; None where they are not in one file."""
    path = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _explain_tls(connection: socket.socket, address: Address, files: TlsFiles, server_name: str) -> str:
    context = ssl.create_default_context(cafile=files.ca)
    context.set_alpn_protocols(["h2"])
    if files.certificate and files.key:
        context.load_cert_chain(files.certificate, files.key)
    name = server_name or address.host
    try:
        with context.wrap_socket(connection, server_hostname=name) as wrapped:
            return _await_settings(wrapped, address, files)
    except ssl.SSLCertVerificationError as error:
        return _of_verification(error, address, name, files)
    except ssl.SSLError as error:
        return _of_handshake(error, address)
    except OSError as error:
        return f"{address} ended the TLS handshake: {error.strerror or 'no answer in time'}."


def _await_settings(wrapped: ssl.SSLSocket, address: Address, files: TlsFiles) -> str:
    """In TLS 1.3 a server judges our certificate after our handshake is done: wait for its first word.

    gRPC's servers close the connection without an alert where they do not accept it.
    """
    wrapped.settimeout(_SILENCE_S)
    try:
        if wrapped.recv(1):
            return ""
    except TimeoutError:
        return ""
    except ssl.SSLError as error:
        return _of_handshake(error, address)
    except OSError:
        pass
    if not files.certificate:
        return f"{address} wants a certificate of this agent. Set tls_certificate and tls_key."
    return (
        f"{address} does not accept this agent's certificate {files.certificate}: another authority signed "
        f"it, or it is not for clients. {_CHECK_FILES}"
    )


def _of_verification(
    error: ssl.SSLCertVerificationError, address: Address, name: str, files: TlsFiles
) -> str:
    here = f"it is {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} here"
    if error.verify_code == _EXPIRED:
        return f"The certificate of {address} has expired ({here}). Renew it on the collector."
    if error.verify_code == _NOT_YET:
        return f"The certificate of {address} is not valid yet ({here}). Check the clocks of both hosts."
    if error.verify_code in (_WRONG_NAME, _WRONG_ADDRESS):
        return (
            f'The certificate of {address} is not for "{name}". Use a name that it holds as the collector\'s '
            "address, or set tls_server_name to one."
        )
    if error.verify_code in _UNTRUSTED:
        trusted = files.ca or "the system's authorities"
        return (
            f"The certificate of {address} is not signed by an authority in {trusted}. "
            "Set tls_ca to its authority."
        )
    return f"The certificate of {address} is not accepted: {error.verify_message}."


def _of_handshake(error: ssl.SSLError, address: Address) -> str:
    reason = (error.reason or "").upper()
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason or "RECORD_LAYER" in reason:
        return (
            f"{address} does not speak TLS. Set tls_certificate and tls_key on the collector, or leave out "
            "tls_ca and tls_certificate here."
        )
    if "CERTIFICATE_REQUIRED" in reason:
        return f"{address} wants a certificate of this agent. Set tls_certificate and tls_key."
    if "ALERT_CERTIFICATE_EXPIRED" in reason:
        return f"{address} says that this agent's certificate has expired. {_CHECK_FILES}"
    if "UNKNOWN_CA" in reason:
        return f"{address} does not trust the authority of this agent's certificate. {_CHECK_FILES}"
    if "ALERT" in reason:
        said = reason.partition("ALERT_")[2].lower().replace("_", " ")
        return f'{address} refuses this agent\'s certificate ("{said}"). {_CHECK_FILES}'
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"{address} ended the TLS handshake without a word. {_CHECK_FILES}"
    return f"The TLS handshake with {address} failed: {error.reason or error}."


def _explain_plain(connection: socket.socket, address: Address) -> str:
    """Whether the peer wants TLS, where this agent has none configured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with context.wrap_socket(connection):
            pass
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or "").upper():
            return ""
    except OSError:
        return ""
    return f"{address} wants TLS. Set tls_ca to the file of its authority."
