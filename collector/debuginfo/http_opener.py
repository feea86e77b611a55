"""How files are fetched from servers that a setting names: over HTTP and HTTPS alone."""

import urllib.request


def http_opener() -> urllib.request.OpenerDirector:
    """Opens URLs; raises URLError (an OSError) for all but http:// and https://, and HTTPError for a refusal."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "fleetprof")]
    return opener
