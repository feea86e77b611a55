-- Traces, kept for later use: one row per span.

-- `ts` is the start in seconds; times are Unix nanoseconds. Ids are lower-case hex; `parent_id` '' for a root.
-- `kind`: internal, server, client, producer, consumer or ''; `status`: '', ok or error. Attributes are pairs of
-- equal length, values as texts; each event has the names and values of its attributes as JSON. `dropped`: how
-- many attributes, events and links the sender or this collector left out. `batch`: the hash of the request that
-- brought the span, so that a request that is sent again counts once.
CREATE TABLE IF NOT EXISTS spans (
    ts DateTime('UTC') ${codec_delta},
    service ${lc},
    name ${lc},
    trace_id String ${codec_zstd},
    span_id String ${codec_zstd},
    parent_id String ${codec_zstd},
    kind ${lc},
    start_ns UInt64 ${codec_zstd},
    duration_ns UInt64 ${codec_zstd},
    status ${lc},
    status_message String ${codec_zstd},
    trace_state String ${codec_zstd},
    host ${lc},
    version ${lc},
    environment ${lc},
    scope ${lc},
    resource_names Array(String) ${codec_zstd},
    resource_values Array(String) ${codec_zstd},
    attribute_names Array(String) ${codec_zstd},
    attribute_values Array(String) ${codec_zstd},
    event_ns Array(UInt64) ${codec_zstd},
    event_names Array(String) ${codec_zstd},
    event_attributes Array(String) ${codec_zstd},
    link_trace_ids Array(String) ${codec_zstd},
    link_span_ids Array(String) ${codec_zstd},
    dropped UInt32,
    batch UInt64 ${codec_zstd}
) ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (service, name, ts, trace_id, span_id)
${dedup}
;
