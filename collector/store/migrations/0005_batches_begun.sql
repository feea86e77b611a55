-- The windows of the batch that each collector has begun to store last. Whoever takes over without that collector's
-- journal finds here which windows may be stored in part (collector/ingest/half_stored.py).
CREATE TABLE IF NOT EXISTS batches_begun (
    collector String,
    version UInt64,
    agent_ids Array(String),
    run_ids Array(UInt64),
    sequences Array(UInt64)
) ENGINE = ReplacingMergeTree(version)
ORDER BY collector
