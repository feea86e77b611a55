// Single-key commands of the page and the list that shows them.
import {byId, element} from './dom.js';

const bindings = [];

/**
 * Bind a key for the whole page. Keys do nothing while an input or a dialog has the focus, or with a modifier.
 * @param {string} key as in KeyboardEvent.key
 * @param {string} title what the list says; empty to leave it out
 * @param {(event: KeyboardEvent) => void} act
 */
export function bind(key, title, act) {
  bindings.push({keys: [key], title, act});
}

/**
 * A line of the list for keys that a part of the page handles itself.
 * @param {string[]} keys
 * @param {string} title
 */
export function describe(keys, title) {
  bindings.push({keys, title, act: null});
}

function showList() {
  const merged = new Map();
  for (const {keys, title} of bindings) if (title) merged.set(title, [...(merged.get(title) || []), ...keys]);
  const lines = [...merged].map(([title, keys]) => {
    const caps = keys.flatMap((key) => [element('kbd', {}, key), ' ']);
    return element('div', {}, element('span', {}, title), element('span', {}, ...caps));
  });
  byId('key-list').replaceChildren(...lines);
  byId('help').showModal();
}

/** Start listening; binds `?` and the help buttons. */
export function listen() {
  bind('?', 'This list', showList);
  byId('help-open').addEventListener('click', showList);
  byId('help-close').addEventListener('click', () => byId('help').close());
  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return;
    if (event.target.closest('input, textarea, dialog, .popup')) return;
    const binding = bindings.find(({keys, act}) => act && keys.includes(event.key));
    if (!binding) return;
    event.preventDefault();
    binding.act(event);
  });
}
