// Time ranges: relative ("now-15m") and absolute, always UTC, resolved with the server's clock.

export const WINDOW_S = 10;
const UNITS = {s: 1, m: 60, h: 3600, d: 86400, w: 604800};
const WORDS = [[604800, 'week'], [86400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']];

export const RELATIVE = ['now-5m', 'now-15m', 'now-1h', 'now-6h', 'now-24h', 'now-7d'];

const skewMs = Number(document.body.dataset.now) * 1000 - Date.now();

/** The server's time in Unix seconds. */
export function now() {
  return (Date.now() + skewMs) / 1000;
}

/**
 * Seconds back of "now", "now-15m"; null when the text is not relative.
 * @param {string} text
 * @returns {number|null}
 */
export function secondsBack(text) {
  const match = /^now(?:-(\d+)([smhdw]))?$/.exec(text);
  if (!match) return null;
  return match[1] ? Number(match[1]) * UNITS[match[2]] : 0;
}

/**
 * A bound of a range in whole Unix seconds; null when the text is no time.
 * Absolute times are Unix seconds, or "YYYY-MM-DD[ T]HH:MM[:SS]" in UTC.
 * @param {string} text
 * @returns {number|null}
 */
export function resolve(text) {
  const back = secondsBack(text);
  if (back !== null) return Math.floor(now() - back);
  if (/^\d{9,11}$/.test(text)) return Number(text);
  const match = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(:\d\d)?Z?)?$/.exec(text.trim());
  if (!match) return null;
  const ms = Date.parse(`${match[1]}T${match[2] || '00:00'}${match[3] || ':00'}Z`);
  return Number.isNaN(ms) ? null : ms / 1000;
}

/**
 * The start of the window of 10 s that a time lies in: ranges of whole windows add up.
 * @param {number|null} seconds Unix
 * @returns {number|null}
 */
export function toWindow(seconds) {
  return seconds === null ? null : Math.floor(seconds / WINDOW_S) * WINDOW_S;
}

/**
 * "2026-11-19 09:00" (with seconds where they are not zero), as people type it back.
 * @param {number} seconds Unix
 * @returns {string}
 */
export function typed(seconds) {
  const iso = new Date(seconds * 1000).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, seconds % 60 ? 19 : 16)}`;
}

/**
 * "15 minutes", "1 hour", "2 h 36 min".
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  for (const [size, word] of WORDS) {
    if (seconds >= size && seconds % size === 0) {
      const many = seconds / size;
      return `${many} ${word}${many === 1 ? '' : 's'}`;
    }
  }
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.round((seconds % 3600) / 60);
  return hours ? `${hours} h ${minutes} min` : `${minutes} min`;
}

/** "15 minutes", "hour", "24 hours", "7 days": what stands after "Last". */
function recent(seconds) {
  if (seconds === 86400) return '24 hours';
  if (seconds % 604800 === 0) return `${seconds / 86400} days`;
  return duration(seconds).replace(/^1 /, '');
}

/**
 * The label of a range: "Last 15 minutes" or "Thu 19 Nov, 09:00 – 15:00".
 * @param {string} from
 * @param {string} to
 * @returns {string}
 */
export function rangeTitle(from, to) {
  const back = secondsBack(from);
  if (back && to === 'now') return `Last ${recent(back)}`;
  const [start, end] = [resolve(from), resolve(to)];
  if (start === null || end === null) return 'Time range';
  const sameDay = day(start) === day(end);
  return `${day(start)}, ${clock(start, end)} – ${sameDay ? '' : `${day(end)}, `}${clock(end, start)}`;
}

/**
 * "Thu 19 Nov".
 * @param {number} seconds Unix
 * @returns {string}
 */
export function day(seconds) {
  return new Date(seconds * 1000).toLocaleDateString('en-GB', {weekday: 'short', day: 'numeric', month: 'short', timeZone: 'UTC'}).replace(',', '');
}

/**
 * "09:00", with seconds when `seconds` or `other` is not on a minute.
 * @param {number} seconds Unix
 * @param {number} [other] the other end of a range, written alike
 * @returns {string}
 */
export function clock(seconds, other = 0) {
  return new Date(seconds * 1000).toISOString().slice(11, seconds % 60 || other % 60 ? 19 : 16);
}

/**
 * The range moved by its own length; never past the server's now.
 * @param {number} start
 * @param {number} end
 * @param {1|-1} direction
 * @returns {{from: string, to: string}}
 */
export function shift(start, end, direction) {
  const length = end - start;
  const newEnd = Math.min(end + direction * length, toWindow(now()));
  return {from: String(newEnd - length), to: String(newEnd)};
}
