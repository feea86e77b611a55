// Seeing what was merged: a tree loaded for one zoomed frame, put in the place of the whole one.
import {findPath} from './frame_path.js';
import {layOut, pathTo} from './layout.js';

/**
 * Whether small frames below `node` were merged, so that the server knows more.
 * @param {import('./layout.js').Tree} tree
 * @param {number} node
 * @returns {boolean}
 */
export function hasMerged(tree, node) {
  for (let i = node + 1; i < tree.n && tree.depth[i] > tree.depth[node]; i++) {
    if (tree.frames.kind[tree.frame[i]] === 'pruned') return true;
  }
  return false;
}

/**
 * Lay out what the server answered for `root`. It holds only stacks through that frame, so its ancestors get
 * their true figures from the whole tree.
 * @param {Parameters<typeof layOut>[0]} columns
 * @param {import('./layout.js').Tree} whole
 * @param {string} root as in frame_path.js
 * @returns {{tree: import('./layout.js').Tree, focus: number}|null} null when the frame is not in it
 */
export function layOutDetail(columns, whole, root) {
  const tree = layOut(columns);
  const {node: focus, whole: found} = findPath(tree, root);
  if (!found) return null;
  const known = pathTo(whole, findPath(whole, root).node);
  pathTo(tree, focus).slice(0, -1).forEach((node, depth) => {
    const original = known[depth];
    if (original === undefined) return;
    for (const column of tree.sums || ['total', 'self']) tree[column][node] = whole[column][original];
  });
  return {tree, focus};
}
