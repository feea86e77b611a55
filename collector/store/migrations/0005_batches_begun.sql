-- The batch that each collector has begun to store last. Whoever takes over without that collector's journal finds here
-- which windows may be stored in part (collector/ingest/half_stored.py). `windows` and `losses`: the batch's rows of
-- these tables, Arrow IPC in base64.
CREATE TABLE IF NOT EXISTS batches_begun (
    collector String,
    version UInt64,
    windows String,
    losses String
) ENGINE = ReplacingMergeTree(version)
ORDER BY collector
