// A profile's tree as columns, and where each frame lies. Nodes are in pre-order, siblings heaviest first, so
// the nodes of one level are in order of x as well.

/**
 * @typedef {object} Frames  what frame indices mean
 * @property {string[]} name
 * @property {string[]} label  the name as it is written on the frame
 * @property {string[]} kind  "native", "kernel", "python" …
 * @property {string[]} mapping
 * @property {string[]} location  "file:line" or ""
 */

/**
 * @typedef {object} Tree
 * @property {number} n
 * @property {Int32Array} frame  index into frames
 * @property {Uint16Array} depth
 * @property {Float64Array} self
 * @property {Float64Array} total
 * @property {Float64Array} x  where the node starts, in the unit of the values
 * @property {Int32Array} parent  -1 for the root
 * @property {Int32Array} levelStart  nodes of level k: levelNodes[levelStart[k]..levelStart[k + 1]]
 * @property {Int32Array} levelNodes
 * @property {number} levels
 * @property {number} whole  total of the whole selection, of which `total[0]` may be a part
 * @property {Frames} frames
 * @property {{step: (tree: Tree, node: number) => number, note: (tree: Tree, node: number) => string}} [marks]  where colour
 *   means a difference: the step of a node, and the number that is written on it
 * @property {string[]} [sums]  names of the columns that are sums, if there are more than self and total
 */

/**
 * Compute totals, positions and levels.
 * @param {{n: number, frame: Int32Array, depth: Uint16Array, self: Float64Array, whole: number, frames: Frames}} columns
 * @returns {Tree}
 */
export function layOut(columns) {
  const {n, depth, self} = columns;
  const parent = parentsOf(depth);
  const total = Float64Array.from(self);
  for (let i = n - 1; i > 0; i--) total[parent[i]] += total[i];
  const x = new Float64Array(n);
  const used = new Float64Array(n);
  for (let i = 1; i < n; i++) {
    const above = parent[i];
    x[i] = x[above] + used[above];
    used[above] += total[i];
  }
  return {...columns, parent, total, x, ...levelsOf(depth)};
}

function parentsOf(depth) {
  const parent = new Int32Array(depth.length);
  const stack = [];
  for (let i = 0; i < depth.length; i++) {
    parent[i] = depth[i] ? stack[depth[i] - 1] : -1;
    stack[depth[i]] = i;
  }
  return parent;
}

function levelsOf(depth) {
  let levels = 0;
  for (const level of depth) levels = Math.max(levels, level + 1);
  const levelStart = new Int32Array(levels + 1);
  for (const level of depth) levelStart[level + 1]++;
  for (let k = 0; k < levels; k++) levelStart[k + 1] += levelStart[k];
  const levelNodes = new Int32Array(depth.length);
  const next = levelStart.slice();
  for (let i = 0; i < depth.length; i++) levelNodes[next[depth[i]]++] = i;
  return {levelStart, levelNodes, levels};
}

/**
 * Position in levelNodes of the last node of `level` that starts at or before `value`; before the level's
 * first position when there is none.
 * @param {Tree} tree
 * @param {number} level
 * @param {number} value
 * @returns {number}
 */
export function lastAtOrBefore(tree, level, value) {
  let low = tree.levelStart[level];
  let high = tree.levelStart[level + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tree.x[tree.levelNodes[middle]] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * The node at `value` on `level`, or -1.
 * @param {Tree} tree
 * @param {number} level
 * @param {number} value
 * @returns {number}
 */
export function nodeAt(tree, level, value) {
  if (level < 0 || level >= tree.levels || value < 0) return -1;
  const at = lastAtOrBefore(tree, level, value);
  if (at < tree.levelStart[level]) return -1;
  const node = tree.levelNodes[at];
  return value < tree.x[node] + tree.total[node] ? node : -1;
}

/**
 * The nodes from the root to `node`.
 * @param {Tree} tree
 * @param {number} node
 * @returns {number[]}
 */
export function pathTo(tree, node) {
  const path = [];
  for (let i = node; i >= 0; i = tree.parent[i]) path.unshift(i);
  return path;
}

/**
 * The node's children, heaviest first.
 * @param {Tree} tree
 * @param {number} node
 * @returns {number[]}
 */
export function childrenOf(tree, node) {
  const level = tree.depth[node] + 1;
  if (level >= tree.levels) return [];
  const found = [];
  const end = tree.levelStart[level + 1];
  for (let at = Math.max(tree.levelStart[level], lastBefore(tree, level, node)); at < end; at++) {
    const child = tree.levelNodes[at];
    if (tree.parent[child] === node) found.push(child);
    else if (child > node && tree.parent[child] > node) break;
  }
  return found;
}

/** Position in levelNodes of the first node of `level` with a larger index than `node` (levels ascend by index). */
function lastBefore(tree, level, node) {
  let low = tree.levelStart[level];
  let high = tree.levelStart[level + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tree.levelNodes[middle] > node) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * The neighbour of `node` on its level.
 * @param {Tree} tree
 * @param {number} node
 * @param {1|-1} step
 * @returns {number} -1 at the edge
 */
export function neighbour(tree, node, step) {
  const level = tree.depth[node];
  const at = lastBefore(tree, level, node - 1) + step;
  return at >= tree.levelStart[level] && at < tree.levelStart[level + 1] ? tree.levelNodes[at] : -1;
}

/**
 * Whether `node` is `ancestor` or lies below it.
 * @param {Tree} tree
 * @param {number} node
 * @param {number} ancestor
 * @returns {boolean}
 */
export function isWithin(tree, node, ancestor) {
  let i = node;
  while (i > ancestor) i = tree.parent[i];
  return i === ancestor;
}
