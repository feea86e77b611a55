// Searching frames: which match, how many there are, and what share of the time has one of them on its stack.

/**
 * @param {import('./layout.js').Tree} tree
 * @param {string} text matched anywhere in the name, without regard to case
 * @returns {{matches: Uint8Array, nodes: number[], share: number}|null} null for an empty text; nodes in pre-order
 */
export function search(tree, text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return null;
  const matches = Uint8Array.from(tree.frames.name, (name) => (name.toLowerCase().includes(wanted) ? 1 : 0));
  const nodes = [];
  let sum = 0;
  let under = -1; // depth of the outermost match that we are below of
  for (let node = 1; node < tree.n; node++) {
    if (under >= 0 && tree.depth[node] <= under) under = -1;
    if (!matches[tree.frame[node]]) continue;
    nodes.push(node);
    if (under < 0) {
      under = tree.depth[node];
      sum += tree.total[node];
    }
  }
  return {matches, nodes, share: tree.whole ? sum / tree.whole : 0};
}

/**
 * The match after (or before) `from`, around the end.
 * @param {number[]} nodes ascending
 * @param {number} from
 * @param {1|-1} step
 * @returns {number} -1 when there is none
 */
export function nextMatch(nodes, from, step) {
  if (!nodes.length) return -1;
  if (step > 0) return nodes.find((node) => node > from) ?? nodes[0];
  return nodes.findLast((node) => node < from) ?? nodes[nodes.length - 1];
}
