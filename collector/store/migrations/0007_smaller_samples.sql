-- Codecs that suit what is stored: starts of windows are multiples of 10 s, offsets are below 1000 (10 bits, not 16).
-- Offsets compress no further, and are looked at for recent windows: merges drop them after two days. New parts are
-- written so, old ones as they are merged. 18.16 has neither codecs nor TTL, so ${modern} leaves statements out there.
${modern}ALTER TABLE samples MODIFY COLUMN ts DateTime('UTC') ${codec_windows}
;
${modern}ALTER TABLE samples MODIFY COLUMN offsets Array(UInt16) ${codec_t64} ${ttl_2_days}
;
