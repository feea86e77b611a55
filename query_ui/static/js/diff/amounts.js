// How the values of a comparison are written: shares in %, their changes in pp; or cores per host.
import {fixed, percent} from '../numbers.js';

const THIN = '\u2009';

/**
 * A number with its sign, a true minus, and no sign where it rounds to zero.
 * @param {number} value
 * @param {number} decimals
 * @returns {string}
 */
export function signed(value, decimals) {
  const text = fixed(value, decimals);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/**
 * A unit of comparison: how amounts and changes of it are written.
 * @typedef {object} Amounts
 * @property {string} name
 * @property {string} unit  of a change
 * @property {number} factor  what values are multiplied with before they are written
 * @property {number} decimals
 */

/** @type {Record<string, Amounts>} */
const UNITS = {
  share: {name: 'share', unit: 'pp', factor: 100, decimals: 2},
  cores_per_host: {name: 'cores_per_host', unit: 'cores', factor: 1, decimals: 4},
};

/** @param {string} unit "share" or "cores_per_host" @returns {Amounts} */
export function amountsFor(unit) {
  return UNITS[unit] || UNITS.share;
}

/** An amount with its unit. @param {Amounts} amounts @param {number|null} value @returns {string} */
export function amount(amounts, value) {
  if (value === null) return '–';
  return amounts.name === 'share' ? percent(value, amounts.decimals) : `${fixed(value, amounts.decimals)}${THIN}${amounts.unit}`;
}

/** Half of an interval, "± 0.76". @param {Amounts} amounts @param {{low: number|null, high: number|null}} effect @returns {string} */
export function spread(amounts, {low, high}) {
  return low === null || high === null ? '' : `± ${fixed(((high - low) / 2) * amounts.factor, amounts.decimals)}`;
}

/** A change with sign and unit. @param {Amounts} amounts @param {number|null} value @returns {string} */
export function change(amounts, value) {
  return value === null ? '–' : `${changeNumber(amounts, value)}${THIN}${amounts.unit}`;
}

/** A change with sign, without unit. @param {Amounts} amounts @param {number} value @returns {string} */
export function changeNumber(amounts, value) {
  return signed(value * amounts.factor, amounts.decimals);
}

/** "95 % interval +0.40 to +0.48 pp". @param {Amounts} amounts @param {{low: number|null, high: number|null}} effect @returns {string} */
export function interval(amounts, {low, high}) {
  if (low === null || high === null) return 'no interval: too few hosts';
  return `95${THIN}% interval ${changeNumber(amounts, low)} to ${change(amounts, high)}`;
}

/** "more", "less", or "" where the change is written as zero. @param {Amounts} amounts @param {number} value @returns {string} */
export function direction(amounts, value) {
  const text = changeNumber(amounts, value);
  return text.startsWith('+') ? 'more' : text.startsWith('−') ? 'less' : '';
}

/** A relative change, "new" or "gone". @param {number} a @param {number} b @returns {string} */
export function relative(a, b) {
  if (!a) return b ? 'new' : '–';
  return b ? `${signed((b / a - 1) * 100, 0)}${THIN}%` : 'gone';
}

/** The first round number from `value` up: 1, 2, 4, 5 or 8 times a power of ten. @param {number} value @returns {number} */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 4, 5, 8, 10].find((digit) => digit * power >= value * (1 - 1e-9)) || 10);
}
