"""JSON schemas of the answers, for the OpenAPI document. Property order is the answer's."""

from typing import Any

Schema = dict[str, Any]

INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TEXT: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}


def record(description: str, **properties: Schema) -> Schema:
    """An object whose properties are all there."""
    return {
        "type": "object",
        "description": description,
        "required": list(properties),
        "properties": properties,
    }


def many(items: Schema, description: str = "") -> Schema:
    """An array."""
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def described(schema: Schema, description: str) -> Schema:
    """`schema` with a description."""
    return {**schema, "description": description}


RANGE = record("The absolute range, Unix seconds, end excluded.", start_s=INTEGER, end_s=INTEGER)

COMPLETENESS = record(
    "How much of what should be there is there.",
    share=described(NUMBER, "0..1"),
    hosts=INTEGER,
    windows_expected=INTEGER,
    windows_received=INTEGER,
    losses=many(record("One reason.", reason=TEXT, count=INTEGER, explanation=TEXT)),
)

FLAME = record(
    "A tree in columns. Nodes are in pre-order, siblings heaviest first; small ones are merged: (pruned).",
    names=many(TEXT, "Names of frames."),
    kinds=many(INTEGER, "Kinds of frames, as fleetprof.v1.FrameKind."),
    mapping_names=many(TEXT),
    mappings=many(INTEGER, "By frame: index into mapping_names."),
    files=many(TEXT, "By frame: file:line, or empty."),
    known=many(INTEGER, "By frame: 0 when the function has no name."),
    name=many(INTEGER, "By node: index into names."),
    self=many(INTEGER, "By node: own value."),
    depth=many(INTEGER, "By node: 0 for the root."),
    total=described(INTEGER, "Sum of what the tree holds."),
    whole=described(INTEGER, "Sum of the selection, of which root may have chosen a part."),
    unit=TEXT,
)

PROFILE = record(
    "A flame graph and how well it is known.",
    flame=FLAME,
    range=RANGE,
    captures=described(INTEGER, "Captured stacks behind the values."),
    resolution=described(TEXT, "10s, 1m or 1h: which table answered."),
    exact=described(BOOLEAN, "True when all values were scaled to exact scheduler times."),
    completeness=COMPLETENESS,
    explanation=described(TEXT, "Why there is nothing; empty when there is something."),
)

TOP = record(
    "Functions by time; exact, whatever the flame graph merged.",
    range=RANGE,
    unit=TEXT,
    total=described(INTEGER, "Sum of the selection, for shares."),
    rows=many(
        record(
            "A function.",
            name=TEXT,
            kind=TEXT,
            mapping=TEXT,
            location=TEXT,
            self=described(INTEGER, "Its own value."),
            total=described(INTEGER, "With everything it calls, once a stack."),
        )
    ),
)

SERIES = record(
    "Values over time.",
    range=RANGE,
    step_s=INTEGER,
    resolution=TEXT,
    covered_s=described(INTEGER, "Seconds of the range in which some selected host reported."),
    start_s=many(INTEGER, "Start of each step, Unix seconds."),
    series=many(
        record(
            "A line.",
            labels={"type": "object", "additionalProperties": TEXT},
            values=many(
                {"type": "number", "nullable": True}, "Average cores (or threads), or a share; null: no data."
            ),
        )
    ),
)

SUMMARY = record(
    "The figures above a profile.",
    range=RANGE,
    seconds=described(NUMBER, "Selected time, summed over threads."),
    average=described(NUMBER, "Seconds per second of the range: cores, or threads."),
    share=described(NUMBER, "0..1 of everything of this type in the range."),
    hosts=INTEGER,
    hosts_total=INTEGER,
    captures=INTEGER,
    completeness=COMPLETENESS,
)

COMPLETION = record(
    "What can stand at the cursor: each candidate replaces characters start..end of the selector.",
    kind={"type": "string", "enum": ["label", "operator", "value", "separator"]},
    start=INTEGER,
    end=INTEGER,
    candidates=many(TEXT),
)

RELEASES = record(
    "Versions of services, the newest first.",
    range=RANGE,
    limited=described(BOOLEAN, "True when there are more than asked for."),
    releases=many(
        record(
            "A version of a service. Times are Unix seconds, to the minute.",
            service=TEXT,
            version=TEXT,
            first_seen_s=described(INTEGER, "Of all that is stored, not only of the range."),
            last_seen_s=INTEGER,
            hosts=described(INTEGER, "Hosts that ran it in the range."),
            hosts_now=described(INTEGER, "Of these, in the service's last ten minutes."),
            host_share=described(NUMBER, "0..1: of the hosts that run the service then."),
            cpu_share=described(NUMBER, "0..1: of the service's CPU then."),
            cores=described(NUMBER, "Average then."),
            predecessor=described(TEXT, "The version before, or beside; empty when there was none."),
            runs=many(
                record("When it ran on a host.", host=TEXT, first_s=INTEGER, last_s=INTEGER),
                "First 100 hosts, the earliest first.",
            ),
        )
    ),
)

_MAYBE: Schema = {"type": "number", "nullable": True}

_EFFECT = record(
    "What changed, in the answer's unit (shares from 0 to 1, or cores per host).",
    a=_MAYBE,
    b=_MAYBE,
    delta=_MAYBE,
    low=described(_MAYBE, "95 % interval of delta, from variation between clusters."),
    high=_MAYBE,
    net=described(_MAYBE, "The change without the factor that all functions have in common."),
    net_low=described(_MAYBE, "95 % interval of net."),
    net_high=_MAYBE,
    p=described(_MAYBE, "Of no change beyond the smallest effect."),
    q=described(_MAYBE, "False discovery rate at which it counts as changed."),
    detectable=described(_MAYBE, "Smallest change that would have been seen with a chance of 80 %."),
    tested=described(BOOLEAN, "False: too few samples to tell."),
    significant=BOOLEAN,
)

_FUNCTION = record("A function.", name=TEXT, kind=TEXT, mapping=TEXT, location=TEXT)

_ARM = record(
    "One side.",
    query=TEXT,
    range=RANGE,
    hosts=INTEGER,
    clusters=INTEGER,
    cores=NUMBER,
    cores_per_host=NUMBER,
    total=described(INTEGER, "Nanoseconds."),
    captures=INTEGER,
    completeness=COMPLETENESS,
)

DIFF = record(
    "What changed from A to B.",
    unit=TEXT,
    a=_ARM,
    b=_ARM,
    verdict=described(TEXT, "In one or two sentences."),
    visible=described(TEXT, "The smallest changes that this comparison can see."),
    can_tell=described(BOOLEAN, "False: too little data for any statement."),
    method=record(
        "How it was compared.",
        sentence=TEXT,
        clusters=described(TEXT, "hosts, or time slices where there are too few hosts."),
        paired=BOOLEAN,
        concurrent=BOOLEAN,
        slice_s=INTEGER,
        factor=described(_MAYBE, "What B's shares were multiplied with for net."),
        false_discovery_rate=NUMBER,
    ),
    cpu=record(
        "CPU per host as a whole, in cores.",
        a=_MAYBE,
        b=_MAYBE,
        delta=_MAYBE,
        low=_MAYBE,
        high=_MAYBE,
        p=_MAYBE,
        detectable=_MAYBE,
        significant=BOOLEAN,
    ),
    movers=many(
        record(
            "A function; those beyond noise first, each part by the size of its change.",
            name=TEXT,
            kind=TEXT,
            mapping=TEXT,
            location=TEXT,
            significant=BOOLEAN,
            self=_EFFECT,
            total=_EFFECT,
        )
    ),
    shifts=many(
        record(
            "Cost that moved from one function to a related one, as by a rename: no regression.",
            source=_FUNCTION,
            target=_FUNCTION,
            amount=described(NUMBER, "How much the target grew."),
            net=described(NUMBER, "What both grew together."),
        )
    ),
    functions=INTEGER,
    moved=described(INTEGER, "Functions beyond noise."),
    noise=INTEGER,
    flame=record(
        "Both profiles as one tree in columns, as /profile has it.",
        names=many(TEXT),
        kinds=many(INTEGER),
        mapping_names=many(TEXT),
        mappings=many(INTEGER),
        files=many(TEXT),
        known=many(INTEGER),
        name=many(INTEGER),
        depth=many(INTEGER),
        unit=TEXT,
        self_a=many(INTEGER, "By node: own value in A."),
        self_b=many(INTEGER),
        total_a=INTEGER,
        total_b=INTEGER,
        whole_a=described(INTEGER, "Sum of A, of which root may have chosen a part."),
        whole_b=INTEGER,
    ),
)

ERROR = record("What went wrong and what to do.", error=TEXT, hint=TEXT)
