-- Where inside functions time was spent: what agents with the setting source_lines send of each window, for values by
-- line of source. One row a window, series, function and place; a function's sum here is at most its own time in
-- samples, as only a window's heaviest places are sent. `func`: the id of the frame. `offset`: of the instruction in
-- the file of build `build_id`.
CREATE TABLE IF NOT EXISTS places (
    ts DateTime('UTC') ${codec_windows},
    service ${lc},
    type ${lc},
    func UInt64 ${codec_zstd},
    series UInt64 ${codec_zstd},
    build_id ${lc},
    offset UInt64 ${codec_delta_8},
    value UInt64 ${codec_t64}
) ENGINE = MergeTree
PARTITION BY toYYYYMMDD(ts)
ORDER BY (service, func, build_id, offset, series, ts)
${dedup}
;
