// The row above the graph: the zoom's path and the legend of the kinds that are there.
import {element} from '../dom.js';
import {pathTo} from './layout.js';
import {CLASSES, classOf, classTitle} from './palette.js';

const SHOWN_AT_END = 3;

/**
 * @param {HTMLElement} list
 * @param {import('./layout.js').Tree} tree
 * @param {number} focus
 * @param {(node: number) => void} zoom
 */
export function showPath(list, tree, focus, zoom) {
  const path = pathTo(tree, focus);
  const cut = path.length > SHOWN_AT_END + 2;
  const shown = cut ? [path[0], -1, ...path.slice(-SHOWN_AT_END)] : path;
  list.replaceChildren(...shown.map((node) => {
    if (node < 0) return element('li', {}, '…');
    const crumb = element('button', {type: 'button'}, node ? tree.frames.name[tree.frame[node]] : 'All frames');
    crumb.addEventListener('click', () => zoom(node));
    return element('li', {}, crumb);
  }));
}

/**
 * @param {HTMLElement} list
 * @param {import('./layout.js').Tree} tree
 */
export function showKinds(list, tree) {
  const present = new Set(tree.frames.kind.map(classOf));
  present.delete('group');
  list.replaceChildren(...CLASSES.filter((name) => present.has(name)).map((name) =>
    element('li', {}, element('i', {class: `kind ${name}`}), classTitle(name))));
}
