"""OTLP's JSON: protobuf's own, but for ids, which are hexadecimal texts instead of base64.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import base64
import binascii
import json
import re
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from collector.ingest.refusal import Refused, malformed
from fleetprof.losses import DropReason

JSON_BYTES = 8 << 20
"""Largest JSON body: its Python objects take some 20 times as much."""

_IDS = frozenset(
    ("traceId", "spanId", "parentSpanId", "profileId", "trace_id", "span_id", "parent_span_id", "profile_id")
)
NO_FIELD = "no field named"
_NO_FIELD = re.compile(NO_FIELD + ' "[^"]{0,80}"')
M = TypeVar("M", bound=Message)


def parse_json(data: bytes, message: M, ignore_unknown: bool) -> M:
    """Fill `message` from OTLP's JSON; raises Refused, for unknown fields unless they are to be ignored."""
    if len(data) > JSON_BYTES:
        raise Refused(DropReason.TOO_LARGE, f"The JSON body has more than {JSON_BYTES} bytes.")
    try:
        found = json.loads(data, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError, too
        raise malformed("The body is not JSON.") from None
    if not isinstance(found, dict):
        raise malformed("The body is not a JSON object.")
    _hex_to_base64(found)
    try:
        json_format.ParseDict(found, message, ignore_unknown_fields=ignore_unknown)
    except json_format.ParseError as error:
        field = _NO_FIELD.search(str(error))
        why = field[0] if field else str(error)[:200]
        raise malformed(f"The JSON body is not of type {message.DESCRIPTOR.name}: {why}.") from None
    return message


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; readers disagree about one with a name twice, so it is refused."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _hex_to_base64(whole: Any) -> None:
    """Rewrite all ids in place; what is no hexadecimal text is refused."""
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(each for each in part if isinstance(each, (dict, list)))
            continue
        for name, value in part.items():
            if name in _IDS and isinstance(value, str):
                part[name] = _base64(value)
            elif isinstance(value, (dict, list)):
                waiting.append(value)


def _base64(text: str) -> str:
    try:
        return base64.b64encode(binascii.unhexlify(text)).decode()
    except ValueError:  # binascii.Error is one
        raise malformed(f"The id {text[:40]!r} is not hexadecimal.") from None
