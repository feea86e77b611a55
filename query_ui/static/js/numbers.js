// How numbers are written: shares with two decimals, thin spaces, a true minus, units in the word.

const THIN = '\u2009';

/**
 * A number with fixed decimals and thin spaces between thousands.
 * @param {number} value
 * @param {number} [decimals]
 * @returns {string}
 */
export function fixed(value, decimals = 0) {
  const [whole, rest] = Math.abs(value).toFixed(decimals).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, THIN);
  const text = rest ? `${grouped}.${rest}` : grouped;
  return value < 0 && /[1-9]/.test(text) ? `−${text}` : text;
}

/**
 * A sentence whose numbers are not parted from their units at the end of a line.
 * @param {string} text
 * @returns {string}
 */
export function unbroken(text) {
  return text.replace(/(\d) (?=(?:%|pp|s|cores)(?:\W|$))/g, '$1\u00a0');
}

/**
 * A share 0..1 as percent.
 * @param {number} share
 * @param {number} [decimals]
 * @returns {string}
 */
export function percent(share, decimals = 2) {
  return `${fixed(share * 100, decimals)}${THIN}%`;
}

/**
 * A count in three or four digits: 148.2 M.
 * @param {number} count
 * @returns {string}
 */
export function count(count) {
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e5, 'k']]) {
    if (count >= size) return `${fixed(count / (unit === 'k' ? 1e3 : size), 1)}${THIN}${unit}`;
  }
  return fixed(count);
}

/**
 * How many decimals keep about three digits of the largest number of a column.
 * @param {number} largest
 * @returns {number}
 */
export function decimalsFor(largest) {
  if (largest >= 100) return 0;
  return largest >= 10 ? 1 : largest >= 0.1 ? 2 : 3;
}

/**
 * Cores (or threads) on average.
 * @param {number} cores
 * @returns {string}
 */
export function cores(cores) {
  return fixed(cores, decimalsFor(Math.abs(cores)));
}

/**
 * A time total: hours, or seconds under one hour.
 * @param {number} seconds
 * @returns {{value: string, unit: string}}
 */
export function timeTotal(seconds) {
  if (seconds >= 3600) return {value: fixed(seconds / 3600, decimalsFor(seconds / 3600)), unit: 'hours'};
  return {value: fixed(seconds, decimalsFor(seconds)), unit: 'seconds'};
}
