-- The first schema. Immutable: later changes are later files.
-- Statements are separated by a line holding only a semicolon. ${...} are replaced by the dialect of the
-- server that runs them (collector/store/dialect.py): ${lc} LowCardinality(String) or String, ${codec_...}
-- a CODEC clause or nothing, ${dedup} the settings by which a server recognises a repeated insert, or nothing.
-- Every statement can be run again (IF NOT EXISTS): after a crash the file is applied from its start.

-- One row per window, series, profile type and stack. `stack` 0 is the empty stack (idle time).
-- `offsets`: when inside the window the samples fell, 10 ms steps, ascending.
CREATE TABLE IF NOT EXISTS samples (
    ts DateTime('UTC') ${codec_delta},
    service ${lc},
    type ${lc},
    series UInt64 ${codec_zstd},
    stack UInt64 ${codec_zstd},
    value UInt64 ${codec_t64},
    captures UInt32 ${codec_t64_32},
    offsets Array(UInt16) ${codec_zstd}
) ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (service, type, toStartOfHour(ts), stack, series, ts)
${dedup}
;
-- One row per window accepted: what makes a window count once, and the base of completeness.
CREATE TABLE IF NOT EXISTS windows (
    ts DateTime('UTC'),
    agent_id String,
    run_id UInt64,
    sequence UInt64,
    host ${lc},
    covered_ns UInt64,
    cpu_count UInt32,
    cpu_exact UInt8,
    period_ns UInt64,
    rows UInt32,
    received_at DateTime('UTC'),
    agent_cpu_ns UInt64,
    agent_bpf_ns UInt64,
    agent_rss_bytes UInt64,
    agent_map_bytes UInt64
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (ts, agent_id, run_id, sequence)
${dedup}
;
CREATE TABLE IF NOT EXISTS losses (
    ts DateTime('UTC'),
    host ${lc},
    origin ${lc},
    reason ${lc},
    count UInt64
) ENGINE = SummingMergeTree(count)
PARTITION BY toYYYYMMDD(ts)
ORDER BY (ts, host, origin, reason)
${dedup}
;
-- The labels of each series, once a day.
CREATE TABLE IF NOT EXISTS series (
    day Date,
    service ${lc},
    series UInt64,
    host ${lc},
    version ${lc},
    environment ${lc},
    region ${lc},
    namespace ${lc},
    pod ${lc},
    container ${lc},
    process ${lc},
    thread ${lc},
    wait ${lc},
    free_names Array(String),
    free_values Array(String)
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, service, series)
;
-- Frame ids of each stack, leaf first; written again when a stack is seen after a day.
CREATE TABLE IF NOT EXISTS stacks (
    service ${lc},
    stack UInt64,
    last_seen DateTime('UTC'),
    frames Array(UInt64) ${codec_zstd}
) ENGINE = ReplacingMergeTree(last_seen)
ORDER BY (service, stack)
;
-- What each frame id means; a later `updated` replaces (a name found after the fact).
CREATE TABLE IF NOT EXISTS frames (
    id UInt64,
    kind UInt8,
    function String ${codec_zstd},
    mapping ${lc},
    build_id ${lc},
    offset UInt64,
    file ${lc},
    line UInt32,
    updated DateTime('UTC')
) ENGINE = ReplacingMergeTree(updated)
ORDER BY id
;
-- Roll-ups, written by the collector with the samples.
CREATE TABLE IF NOT EXISTS stack_1h (
    ts DateTime('UTC'),
    service ${lc},
    type ${lc},
    version ${lc},
    region ${lc},
    stack UInt64,
    value UInt64,
    captures UInt64
) ENGINE = SummingMergeTree((value, captures))
PARTITION BY toYYYYMMDD(ts)
ORDER BY (service, type, ts, stack, version, region)
${dedup}
;
CREATE TABLE IF NOT EXISTS func_1h (
    ts DateTime('UTC'),
    service ${lc},
    type ${lc},
    version ${lc},
    region ${lc},
    func UInt64,
    self UInt64,
    total UInt64
) ENGINE = SummingMergeTree((self, total))
PARTITION BY toYYYYMMDD(ts)
ORDER BY (service, type, ts, func, version, region)
${dedup}
;
CREATE TABLE IF NOT EXISTS series_1m (
    ts DateTime('UTC'),
    service ${lc},
    type ${lc},
    series UInt64,
    value UInt64,
    captures UInt64
) ENGINE = SummingMergeTree((value, captures))
PARTITION BY toYYYYMMDD(ts)
ORDER BY (service, type, ts, series)
${dedup}
;
