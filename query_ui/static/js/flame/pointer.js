// Mouse and touch on the flame graph: hover, click selects, double click zooms, click on an ancestor zooms out.

/**
 * @param {import('./graph.js').FlameGraph} graph
 * @param {{select: (node: number) => void, zoom: (node: number) => void, hover: (node: number, event: PointerEvent|null) => void}} acts
 */
export function listenToPointer(graph, acts) {
  const {canvas} = graph;
  const nodeOf = (event) => graph.hit(event.offsetX, event.offsetY);
  canvas.addEventListener('pointermove', (event) => {
    if (event.pointerType === 'touch') return;
    const node = nodeOf(event);
    graph.hover(node);
    acts.hover(node, event);
  });
  canvas.addEventListener('pointerleave', () => {
    graph.hover(-1);
    acts.hover(-1, null);
  });
  canvas.addEventListener('click', (event) => {
    const node = nodeOf(event);
    if (node < 0) return;
    const isAncestor = graph.tree.depth[node] < graph.tree.depth[graph.focus];
    if (isAncestor && event.detail === 1) acts.zoom(node);
    else acts.select(node);
  });
  canvas.addEventListener('dblclick', (event) => {
    const node = nodeOf(event);
    if (node >= 0) acts.zoom(node);
  });
}
