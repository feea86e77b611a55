// What stands in the place of the profile when there is none: nothing matched, or something failed.
import {byId, button, element} from './dom.js';
import {update} from './state.js';

/** Show the graph and the table again. */
export function showProfile() {
  byId('profile-state').hidden = true;
  byId('split').hidden = false;
  byId('path-row').hidden = false;
  byId('details').hidden = false;
}

/**
 * No samples.
 * @param {string} explanation the server's reason
 * @param {boolean} waiting true when the page will look again by itself
 */
export function showEmpty(explanation, waiting) {
  const guess = /"([^"]+)" has never sent data\..*Did you mean (.+)\?/.exec(explanation);
  const actions = [];
  if (guess) actions.push(button(`Use ${guess[2]}`, () => replaceInSelector(guess[1], guess[2]), 'btn'));
  if (!waiting && !guess) actions.push(button('Last 24 hours', () => update({from: 'now-24h', to: 'now'}, {push: true}), 'btn'));
  if (!waiting && new URLSearchParams(location.search).get('query')) {
    actions.push(button('Clear filters', () => update({query: ''}, {push: true}), 'btn ghost'));
  }
  const [title, ...rest] = explanation.split(/(?<=\.) /);
  show(title.replace(/\.$/, ''), rest.join(' '), actions);
}

/**
 * A question that failed.
 * @param {import('./api.js').ApiError} failure
 * @param {() => void} retry
 */
export function showFailure(failure, retry) {
  const actions = [];
  if (failure.status === 504) actions.push(button('Try last hour', () => update({from: 'now-1h', to: 'now'}, {push: true}), 'btn'));
  if (failure.status !== 400) actions.push(button('Try again', retry, 'btn'));
  show(failure.message.replace(/\.$/, ''), failure.hint, actions);
}

function replaceInSelector(wrong, right) {
  const query = new URLSearchParams(location.search).get('query') || '';
  update({query: query.replace(JSON.stringify(wrong), JSON.stringify(right))}, {push: true});
}

function show(title, text, actions) {
  const state = element('div', {class: 'state', role: 'status'}, element('h3', {}, title), element('p', {}, text),
    element('div', {class: 'row'}, ...actions));
  byId('profile-state').replaceChildren(state);
  byId('profile-state').hidden = false;
  byId('split').hidden = true;
  byId('path-row').hidden = true;
  byId('details').hidden = true;
}
