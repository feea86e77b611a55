// The flame graph by keyboard: arrows move the selection, Enter zooms to it.
import {childrenOf, neighbour} from './layout.js';

/**
 * @param {import('./graph.js').FlameGraph} graph
 * @param {{select: (node: number) => void, zoom: (node: number) => void}} acts
 */
export function listenToKeys(graph, acts) {
  graph.canvas.addEventListener('keydown', (event) => {
    if (!graph.tree || event.metaKey || event.ctrlKey || event.altKey) return;
    const at = graph.selected >= 0 ? graph.selected : graph.focus;
    if (event.key === 'Enter') {
      event.preventDefault();
      acts.zoom(at);
      return;
    }
    const next = target(graph.tree, at, event.key);
    if (next === undefined) return;
    event.preventDefault();
    if (next >= 0) acts.select(graph.selected < 0 ? at : next);
  });
}

function target(tree, at, key) {
  switch (key) {
    case 'ArrowUp': return tree.parent[at];
    case 'ArrowDown': return childrenOf(tree, at)[0] ?? -1;
    case 'ArrowLeft': return neighbour(tree, at, -1);
    case 'ArrowRight': return neighbour(tree, at, 1);
    case 'Home': return 0;
    default: return undefined;
  }
}
