"""Says plainly what a listening address opens to whoever reaches it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost is taken for reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def push_exposure(host: str, tls: bool, client_ca: bool, tokens: bool) -> str:
    """What is open where agents push to `host`; "" when nothing is."""
    if is_loopback(host):
        return ""
    if not (client_ca or tokens):
        encrypted = "" if tls else ", and read what others push"
        return (
            f'Anyone who reaches {host} can push profiles{encrypted}. Set auth = "tokens", or tls_client_ca'
            f"{'' if tls else '; and tls_certificate with tls_key'}."
        )
    if not tls:
        return (
            f"Profiles and tokens cross the network to {host} readably. Set tls_certificate and tls_key, or "
            "put a proxy with TLS in front."
        )
    return ""


def page_exposure(host: str, tokens: bool) -> str:
    """What is open where pages are served on `host`; "" when nothing is. They have no TLS of their own."""
    if is_loopback(host):
        return ""
    if not tokens:
        return f'Anyone who reaches {host} can read all profiles. Set auth = "tokens".'
    return f"Tokens and profiles cross the network to {host} readably. Put a proxy with TLS in front."
