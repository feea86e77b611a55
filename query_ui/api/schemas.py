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
            values=many({"type": "number", "nullable": True}, "Average cores (or threads); null: no data."),
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

ERROR = record("What went wrong and what to do.", error=TEXT, hint=TEXT)
