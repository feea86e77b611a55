-- Frames that were stored as mapping+0xoffset and were named later, from debug information (collector/debuginfo).
-- `functions`: ids of the frames that stand for such a one, the innermost inlined function first (their names are in
-- table frames); empty where nothing was found. `lines`: which line of each function's file runs there, 0: not known.
CREATE TABLE IF NOT EXISTS symbolized (
    id UInt64,
    functions Array(UInt64),
    lines Array(UInt32),
    updated_ns UInt64
) ENGINE = ReplacingMergeTree(updated_ns)
ORDER BY id
;
