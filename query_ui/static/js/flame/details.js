// The strip below the graph that tells all about the selected frame; it is the page's live region.
import {button, element} from '../dom.js';
import {frameFigures, frameNote} from './describe.js';

/**
 * @param {HTMLElement} strip
 * @param {import('./layout.js').Tree} tree
 * @param {number} node
 * @param {import('./describe.js').Scale} scale
 * @param {{zoom: () => void, search: () => void, copy: () => void, compare: (() => void)|null, source: (() => void)|null}} acts
 */
export function showDetails(strip, tree, node, scale, acts) {
  const figures = frameFigures(tree, node, scale);
  const name = tree.frames.name[tree.frame[node]];
  const note = frameNote(tree, node);
  const who = element('div', {class: 'who'}, element('b', {title: name}, name), element('small', {title: note}, note));
  const unit = scale.unit[0].toUpperCase() + scale.unit.slice(1);
  const list = element('dl', {}, fact('Total', figures.total), fact('Self', figures.self), fact(unit, figures.cores), fact('Time', figures.time));
  const actions = element('div', {class: 'actions'}, button('Zoom', acts.zoom), button('Search', acts.search), ...(acts.source ? [button('Source', acts.source)] : []),
    ...(acts.compare ? [button('Compare', acts.compare)] : []), button('Copy name', acts.copy));
  strip.replaceChildren(who, list, actions);
}

/** @param {HTMLElement} strip */
export function showNoDetails(strip) {
  strip.replaceChildren(element('span', {class: 'faint'}, 'Click a frame to see its figures; double-click or Enter zooms.'));
}

function fact(title, value) {
  return element('div', {}, element('dt', {}, title), element('dd', {}, value));
}
