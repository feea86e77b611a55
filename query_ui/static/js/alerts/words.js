// Alerts in words: titles, states, ages.
import {element} from '../dom.js';
import {clock, day, duration, now} from '../time.js';

/** @typedef {{id: string, state: string, kind: string, rule: string, scope: string, service: string, version: string, function: string,
 *   summary: string, reason: string, value: number|null, labels: Record<string, string>, receivers: string[], active_at: number,
 *   fired_at: number|null, ended_at: number|null, judged_at: number, silenced_by: string[]}} Alert */

/** One sentence: what, where, since when. @param {Alert} alert @returns {(Node|string)[]} */
export function titleOf(alert) {
  const {kind, service, version, summary} = alert;
  if (kind !== 'release') return [summary.replace(/ \(.*\)$/, '')];
  if (!alert.function) return [`${service} uses more CPU per host since ${version}`];
  return [element('span', {class: 'mono'}, alert.function), ` uses more CPU since ${service} ${version}`];
}

const STATES = {
  firing: {word: 'Firing', className: 'bad'}, pending: {word: 'Pending', className: 'warn'}, resolved: {word: 'Resolved', className: ''},
  accepted: {word: 'Accepted', className: ''}, superseded: {word: 'Superseded', className: ''}, inactive: {word: 'Went away', className: ''},
};

/** @param {string} state @returns {{word: string, className: string}} */
export function stateWords(state) {
  return STATES[state] || {word: state, className: ''};
}

/** The health mark of a state. @param {string} state @returns {"bad"|"warning"|"off"} */
export function markOf(state) {
  return {firing: 'bad', pending: 'warning'}[state] || 'off';
}

/** "Firing for 2 h 36 min", "Resolved after 12 min". @param {Alert} alert @returns {string} */
export function ageWords(alert) {
  const {word} = stateWords(alert.state);
  const since = alert.fired_at || alert.active_at;
  if (!alert.ended_at) return `${word} for ${rough(now() - since)}`;
  return alert.state === 'inactive' ? 'Went away before it fired' : `${word} after ${rough(alert.ended_at - since)}`;
}

/** A length in words, without fractions of minutes. @param {number} seconds @returns {string} */
export function rough(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  return whole < 172800 ? duration(Math.round(whole / 60) * 60).replace(/(\d+) minutes?$/, '$1 min').replace(/(\d+) hours?$/, '$1 h') : `${Math.round(whole / 86400)} days`;
}

/** "09:41", with the day where it is not today. @param {number} seconds Unix @returns {string} */
export function moment(seconds) {
  const time = clock(Math.floor(seconds / 60) * 60);
  return day(seconds) === day(now()) ? time : `${day(seconds)}, ${time}`;
}

/** A selector that matches exactly these labels. @param {Record<string, string>} labels @returns {string} */
export function selectorOf(labels) {
  return Object.entries(labels).map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',');
}
