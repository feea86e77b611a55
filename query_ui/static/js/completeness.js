// How much of the data is there: the chip, and the reasons behind it.
import {byId, element} from './dom.js';
import {count, percent} from './numbers.js';
import {attach} from './popup.js';

const WARN_BELOW = 0.995;

/** @typedef {{share: number, hosts: number, windows_expected: number, windows_received: number,
 *   losses: {reason: string, count: number, explanation: string}[]}} Completeness */

/** Connect the chip with its popup. */
export function startCompleteness() {
  attach(byId('completeness'), byId('completeness-menu'));
}

/**
 * @param {Completeness} completeness
 * @param {string} resolution "10s", "1m" or "1h"
 * @param {boolean} exact
 */
export function showCompleteness(completeness, resolution, exact) {
  const {share, windows_expected: expected} = completeness;
  const chip = byId('completeness');
  byId('completeness-anchor').hidden = !expected;
  chip.classList.toggle('warn', share < WARN_BELOW);
  byId('completeness-ring').setAttribute('stroke-dasharray', `${share * 100} 100`);
  byId('completeness-title').replaceChildren(element('b', {}, shown(share)), ' complete');
  byId('completeness-menu').replaceChildren(...explanation(completeness, resolution, exact));
}

/** Never 100 % while something is missing. */
function shown(share) {
  return share === 1 ? percent(1, 0) : percent(Math.min(share, 0.999), 1);
}

function explanation({share, hosts, windows_expected, windows_received, losses}, resolution, exact) {
  const missing = windows_expected - windows_received;
  const first = missing > 0
    ? `${count(missing)} of ${count(windows_expected)} windows of 10 s from ${count(hosts)} host${hosts === 1 ? '' : 's'} did not arrive.`
    : `All ${count(windows_expected)} windows of 10 s from ${count(hosts)} host${hosts === 1 ? '' : 's'} arrived.`;
  const parts = [element('p', {}, element('b', {}, `${shown(share)} complete. `), first)];
  parts.push(element('p', {class: 'muted'}, exact
    ? 'Totals are exact scheduler times; shares are sampled.'
    : 'Totals are estimated from samples: some host could not measure exact scheduler times.'));
  parts.push(element('p', {class: 'faint'}, `Read at a resolution of ${{'10s': '10 seconds', '1m': '1 minute', '1h': '1 hour'}[resolution] || resolution}.`));
  if (!losses.length) return [...parts, element('p', {class: 'faint'}, 'No losses were counted.')];
  const rows = losses.map(({reason, count: many, explanation: why}) =>
    element('div', {}, element('dt', {title: reason}, why), element('dd', {}, count(many))));
  return [...parts, element('dl', {}, ...rows)];
}
