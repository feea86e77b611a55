"""Tells the layout of OTLP profiles that is understood from all others, which must never be misread.

The package `v1development` has changed its meaning several times under one name. Understood is that of
opentelemetry-proto 1.45 (OTLP 1.10): a dictionary with a stack table, and samples whose fields are stack,
attributes, link, values, timestamps. Earlier ones:

- tables inside of each profile (OTLP 1.3 to 1.5): the request has no dictionary;
- a dictionary without stacks (1.6, 1.7): samples point into Profile.location_indices;
- a dictionary with stacks, but samples with their values second (1.8, 1.9).

A field that is sent as another type than ours is kept by protobuf as unknown: any unknown field is another layout.
The last two layouts share all types but the order inside of a sample, so samples are also checked one by one.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import Profile, ProfilesDictionary

from collector.ingest.refusal import Refused
from fleetprof.losses import DropReason

UNDERSTOOD = "that of OTLP 1.10 (opentelemetry-proto 1.45)"
BEFORE_DICTIONARY = "from before the dictionary (OTLP 1.5 or older)"
BEFORE_STACKS = "from before the stack table (OTLP 1.6 or 1.7)"
VALUES_SECOND = "with a sample's values second (OTLP 1.8 or 1.9)"
UNKNOWN = "unknown, perhaps a newer one"

_TABLES = (
    "mapping_table", "location_table", "function_table", "link_table", "string_table", "attribute_table",
    "stack_table",
)  # fmt: skip


def other_layout(which: str, detail: str) -> Refused:
    """The refusal of a layout, by name."""
    return Refused(
        DropReason.PROTOCOL_VERSION,
        f"The OTLP profiles are in a layout {which}: {detail}. Understood is {UNDERSTOOD}; update the sender, or "
        "put an OpenTelemetry collector of that version between.",
    )


def check_layout(request: ExportProfilesServiceRequest) -> None:
    """Raise Refused unless a decoded request is in the layout that is understood."""
    if not request.resource_profiles:
        return
    if not request.HasField("dictionary"):
        raise other_layout(BEFORE_DICTIONARY, "there is no dictionary")
    _check_unknown(request)
    _check_tables(request.dictionary)
    _check_samples(request)


def _check_unknown(request: ExportProfilesServiceRequest) -> None:
    """Unknown fields anywhere: removing them would make the message shorter."""
    before = request.ByteSize()
    stripped = ExportProfilesServiceRequest()
    stripped.CopyFrom(request)
    stripped.DiscardUnknownFields()
    if stripped.ByteSize() == before:
        return
    for profile in _profiles(request):
        if 3 in (numbers := _unknown(profile)):
            raise other_layout(BEFORE_STACKS, "Profile.location_indices is there")
        if numbers:
            raise other_layout(UNKNOWN, f"Profile has field {min(numbers)}")
    for sample in (sample for profile in _profiles(request) for sample in profile.samples):
        if 3 in (numbers := _unknown(sample)):
            raise other_layout(VALUES_SECOND, "a sample's attributes are its field 3")
        if numbers:
            raise other_layout(UNKNOWN, f"Sample has field {min(numbers)}")
    raise other_layout(UNKNOWN, "it has fields that are not known")


def _unknown(message: Message) -> set[int]:
    fields: Any = UnknownFieldSet(message)
    return {field.field_number for field in fields}


def _check_tables(dictionary: ProfilesDictionary) -> None:
    if not dictionary.stack_table:
        raise other_layout(BEFORE_STACKS, "the dictionary has no stacks")
    for name in _TABLES:
        table = getattr(dictionary, name)
        if table and (table[0] if name == "string_table" else table[0].ByteSize()):
            raise other_layout(UNKNOWN, f"the first entry of {name} is not empty")


def _check_samples(request: ExportProfilesServiceRequest) -> None:
    """Samples whose second field cannot be attributes, or are those of other things, but can be values."""
    count = len(request.dictionary.attribute_table)
    elsewhere = _attributes_of_others(request)
    for profile in _profiles(request):
        for sample in profile.samples:
            second = sample.attribute_indices
            if not len(second):
                continue
            nothing = not sample.values and (
                not sample.timestamps_unix_nano or not elsewhere.isdisjoint(second)
            )
            if nothing or not _are_attributes(second, count):
                detail = "a sample's second field holds no attributes, but may hold values"
                raise other_layout(VALUES_SECOND, detail)


def _attributes_of_others(request: ExportProfilesServiceRequest) -> set[int]:
    """Places of the attributes of mappings, locations and profiles, which no sample has."""
    tables = request.dictionary
    owners: tuple[Any, ...] = (*tables.mapping_table, *tables.location_table, *_profiles(request))
    return {index for owner in owners for index in owner.attribute_indices}


def _are_attributes(indices: Any, count: int) -> bool:
    """Whether these are places in the attribute table, each once, none the empty one."""
    return all(0 < index < count for index in indices) and len(set(indices)) == len(indices)


def _profiles(request: ExportProfilesServiceRequest) -> Iterable[Profile]:
    for resource in request.resource_profiles:
        for scope in resource.scope_profiles:
            yield from scope.profiles
