-- Differences of starts of windows, packed by bits and not by bytes: 0.14 bytes a row less of 2.8, and quicker to read.
-- New parts are written so, old ones as they are merged. 18.16 has no codecs.
${modern}ALTER TABLE samples MODIFY COLUMN ts DateTime('UTC') ${codec_steps_by_bits}
