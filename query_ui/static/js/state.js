// The page's state lives in the URL and nowhere else.

/** What each page keeps in its URL, with the defaults that are left out there. */
const PAGES = {
  explore: {query: '', type: 'cpu', from: 'now-15m', to: 'now', group_by: '', view: 'both', root: '', frame: '', search: '', sort: '-self'},
  source: {query: '', from: 'now-15m', to: 'now', function: '', mapping: '', build: '', line: ''},
  compare: {
    a_query: '', a_from: 'now-1h', a_to: 'now', b_query: '', b_from: 'now-1h', b_to: 'now', type: 'cpu', unit: 'share', of: 'self',
    view: 'diff', width: 'both', root: '', frame: '', focus: '', search: '', sort: '-change', noise: '',
  },
  hosts: {search: '', health: '', from: 'now-24h', to: 'now', sort: 'health', page: '1', host: ''},
  alerts: {state: 'open', search: ''},
  alert: {},
};
const DEFAULTS = PAGES[document.body.dataset.page] || PAGES.explore;
const listeners = [];
let state = read();

/** @typedef {Record<string, string>} State */

function read() {
  const given = new URLSearchParams(location.search);
  const found = {...DEFAULTS};
  for (const name of Object.keys(DEFAULTS)) if (given.has(name)) found[name] = given.get(name);
  return found;
}

/**
 * The URL of a state: what equals its default is left out.
 * @param {State} of
 * @returns {string}
 */
function urlOf(of) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(of)) if (value !== DEFAULTS[name]) parameters.set(name, value);
  const text = parameters.toString();
  return text ? `?${text}` : location.pathname;
}

/** @returns {State} the current state; do not change it, call `update` */
export function current() {
  return state;
}

/**
 * Change the state and the URL, then tell the listeners.
 * @param {Partial<State>} patch
 * @param {{push?: boolean}} [how] push: a new history entry, so that Back undoes it; else the entry is replaced
 */
export function update(patch, {push = false} = {}) {
  const next = {...state, ...patch};
  const changed = difference(state, next);
  if (!changed.size) return;
  state = next;
  history[push ? 'pushState' : 'replaceState'](null, '', urlOf(next));
  for (const listener of listeners) listener(next, changed);
}

/**
 * @param {(state: State, changed: Set<string>) => void} listener
 */
export function onChange(listener) {
  listeners.push(listener);
}

function difference(before, after) {
  return new Set(Object.keys(DEFAULTS).filter((name) => before[name] !== after[name]));
}

addEventListener('popstate', () => {
  const next = read();
  const changed = difference(state, next);
  state = next;
  if (changed.size) for (const listener of listeners) listener(next, changed);
});
