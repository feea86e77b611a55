-- Agents: what each is (one row an agent, the newest counts), and how it fared (heartbeats, thinned).

-- `status`: accepted, or refused for the reason in `message`. Times of the collector's clock, but
-- `acknowledged_at` (start of the newest window that was acknowledged; 1970 for none) and `started_at`.
-- `clock_skew_ms`: the agent's clock minus the collector's. hook_states: '' is available, else why not.
-- Totals (cost, losses) count from the agent's start.
CREATE TABLE IF NOT EXISTS agents (
    agent_id String,
    host ${lc},
    run_id UInt64,
    status ${lc},
    message String ${codec_zstd},
    protocol_version UInt32,
    agent_version ${lc},
    kernel ${lc},
    architecture ${lc},
    cpu_count UInt32,
    memory_bytes UInt64,
    backend ${lc},
    hook_names Array(String) ${codec_zstd},
    hook_states Array(String) ${codec_zstd},
    hook_is_program Array(UInt8) ${codec_zstd},
    setting_names Array(String) ${codec_zstd},
    setting_values Array(String) ${codec_zstd},
    setting_sources Array(String) ${codec_zstd},
    started_at DateTime('UTC'),
    registered_at DateTime('UTC'),
    seen_at DateTime('UTC'),
    clock_skew_ms Int64,
    queue_windows UInt32,
    acknowledged_at DateTime('UTC'),
    windows_closed UInt64,
    windows_acknowledged UInt64,
    cpu_ns UInt64,
    bpf_ns UInt64,
    rss_bytes UInt64,
    map_bytes UInt64,
    loss_reasons Array(String) ${codec_zstd},
    loss_counts Array(UInt64) ${codec_zstd},
    updated_ns UInt64
) ENGINE = ReplacingMergeTree(updated_ns)
ORDER BY agent_id
;
CREATE TABLE IF NOT EXISTS heartbeats (
    ts DateTime('UTC'),
    agent_id String,
    run_id UInt64,
    host ${lc},
    clock_skew_ms Int64,
    queue_windows UInt32,
    windows_closed UInt64,
    windows_acknowledged UInt64,
    cpu_ns UInt64,
    bpf_ns UInt64,
    rss_bytes UInt64,
    map_bytes UInt64,
    loss_reasons Array(String) ${codec_zstd},
    loss_counts Array(UInt64) ${codec_zstd}
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (agent_id, ts)
;
