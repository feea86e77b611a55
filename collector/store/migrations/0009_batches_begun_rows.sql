-- Rows of the batches in batches_begun (the same collector and version), so that who takes over can complete one whose
-- agents never come back: Arrow IPC (zstd) in base64. `samples` on clusters only, where one shard may have its part of
-- them and another one not.
CREATE TABLE IF NOT EXISTS batches_begun_rows (
    collector String,
    version UInt64,
    samples String,
    places String
) ENGINE = ReplacingMergeTree(version)
ORDER BY collector
