// A frame's place as text, for the URL and for the server: names from the outermost inwards, with ";" between.
import {childrenOf, pathTo} from './layout.js';

/**
 * The names from below the root to the node; "" for the root.
 * @param {import('./layout.js').Tree} tree
 * @param {number} node
 * @returns {string}
 */
export function pathText(tree, node) {
  const names = pathTo(tree, node).slice(1).map((step) => tree.frames.name[tree.frame[step]]);
  return names.map((name) => name.replace(/[\\;]/g, '\\$&')).join(';');
}

/**
 * @param {string} text
 * @returns {string[]}
 */
export function parsePath(text) {
  if (!text) return [];
  return text.match(/(?:\\.|[^;\\])+/gs)?.map((name) => name.replace(/\\(.)/gs, '$1')) || [];
}

/**
 * The node at a path, as deep as the tree knows it.
 * @param {import('./layout.js').Tree} tree
 * @param {string} text
 * @returns {{node: number, whole: boolean}} whole: false when the path goes on below the node
 */
export function findPath(tree, text) {
  let node = 0;
  for (const name of parsePath(text)) {
    const next = childrenOf(tree, node).find((child) => tree.frames.name[tree.frame[child]] === name);
    if (next === undefined) return {node, whole: false};
    node = next;
  }
  return {node, whole: true};
}
