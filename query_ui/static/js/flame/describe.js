// A frame in words and numbers: for the tooltip and the details strip.
import {cores, percent, timeTotal} from '../numbers.js';
import {kindTitle} from './palette.js';

/**
 * @typedef {object} Scale  what the values of a tree mean
 * @property {number} seconds  length of the range
 * @property {string} unit  "cores" or "threads"
 * @property {string} timeWord  "CPU-" or ""
 */

/**
 * @param {import('./layout.js').Tree} tree
 * @param {number} node
 * @returns {string} e.g. "Python · app.py:12 · /usr/bin/python3.11"
 */
export function frameNote(tree, node) {
  const frame = tree.frame[node];
  const {kind, location, mapping} = tree.frames;
  return [kindTitle(kind[frame]), location[frame], mapping[frame]].filter(Boolean).join(' · ');
}

/**
 * @param {import('./layout.js').Tree} tree
 * @param {number} node
 * @param {Scale} scale
 * @returns {{total: string, self: string, cores: string, time: string, share: number}}
 */
export function frameFigures(tree, node, scale) {
  const whole = tree.whole || 1;
  const seconds = tree.total[node] / 1e9;
  const time = timeTotal(seconds);
  return {
    share: tree.total[node] / whole,
    total: percent(tree.total[node] / whole),
    self: percent(tree.self[node] / whole),
    cores: cores(seconds / scale.seconds),
    time: `${time.value} ${scale.timeWord}${time.unit}`,
  };
}
