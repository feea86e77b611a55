-- Hours that have samples which a collector has not added to stack_1h and func_1h yet; queries answer them from
-- samples. One row a collector and hour, the highest `version` counts; `pending` 0: complete.
CREATE TABLE IF NOT EXISTS rollups_pending (
    ts DateTime('UTC'),
    collector String,
    pending UInt8,
    version UInt64
) ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMMDD(ts)
ORDER BY (ts, collector)
;
