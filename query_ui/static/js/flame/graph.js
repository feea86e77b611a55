// The flame graph: a canvas for the frames, one above it for hover and selection, and the zoom between them.
import {nodeAt} from './layout.js';
import {boxOf, hatchPattern, paint, paintMarks, ROW} from './paint.js';
import {colourIndices, readPalette} from './palette.js';
import {TextFit} from './text_fit.js';

const ZOOM_MS = 160;
const MAX_CANVAS_PX = 16_000;
const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');

export class FlameGraph {
  /** @type {import('./layout.js').Tree|null} */
  tree = null;
  focus = 0;
  selected = -1;
  hovered = -1;
  /** How long the last painting took, from the call to the second frame after it. */
  lastPaintMs = 0;
  /** The script's own share of it: decoding is not part of it. */
  lastDrawMs = 0;
  #base;
  #marks;
  #scene = null;
  #palette = null;
  #matches = null;
  #view = {x: 0, width: 1};
  #animation = 0;

  /** @param {HTMLCanvasElement} canvas its parent gives the width */
  constructor(canvas) {
    this.canvas = canvas;
    this.overlay = document.createElement('canvas');
    this.overlay.className = 'marks';
    this.overlay.setAttribute('aria-hidden', 'true');
    canvas.after(this.overlay);
    this.#base = canvas.getContext('2d', {alpha: false});
    this.#marks = this.overlay.getContext('2d');
    new ResizeObserver(() => this.#resize()).observe(canvas.parentElement);
    addEventListener('themechange', () => this.#retheme());
  }

  /**
   * Show another tree, zoomed to `focus`.
   * @param {import('./layout.js').Tree} tree
   * @param {number} [focus]
   * @param {number} [selected]
   */
  setTree(tree, focus = 0, selected = -1) {
    cancelAnimationFrame(this.#animation);
    this.tree = tree;
    this.focus = focus;
    this.selected = selected;
    this.hovered = -1;
    this.#view = this.#viewOf(focus);
    this.#scene = null;
    this.#matches = null;
    this.canvas.hidden = this.overlay.hidden = false;
    this.#resize();
  }

  /** Show nothing. */
  clear() {
    this.tree = null;
    this.#scene = null;
    this.canvas.hidden = this.overlay.hidden = true;
  }

  #viewOf(node) {
    return {x: this.tree.x[node], width: this.tree.total[node] || 1};
  }

  #retheme() {
    this.#palette = null;
    this.#scene = null;
    this.repaint();
  }

  #resize() {
    if (!this.tree) return;
    const width = this.canvas.parentElement.clientWidth;
    if (width <= 0) return;
    const height = this.tree.levels * ROW;
    const ratio = Math.min(devicePixelRatio || 1, MAX_CANVAS_PX / height);
    for (const [canvas, context] of [[this.canvas, this.#base], [this.overlay, this.#marks]]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    this.width = width;
    this.ratio = ratio;
    this.#scene = null;
    this.repaint();
  }

  #prepare() {
    this.#palette ||= readPalette();
    this.#base.font = this.#palette.font;
    this.#scene = {
      tree: this.tree, width: this.width, ratio: this.ratio, palette: this.#palette,
      colours: colourIndices(this.tree.frames), text: new TextFit(this.#base),
      hatch: hatchPattern(this.#base, this.#palette.text, this.ratio),
    };
  }

  /** Paint now. */
  repaint() {
    if (!this.tree || !this.width) return;
    const started = performance.now();
    if (!this.#scene) this.#prepare();
    Object.assign(this.#scene, {view: this.#view, matches: this.#matches, focusDepth: this.tree.depth[this.focus]});
    paint(this.#base, this.#scene);
    paintMarks(this.#marks, this.#scene, this.selected, this.hovered);
    this.lastDrawMs = performance.now() - started;
    requestAnimationFrame(() => requestAnimationFrame(() => (this.lastPaintMs = performance.now() - started)));
  }

  #remark() {
    if (this.#scene) paintMarks(this.#marks, this.#scene, this.selected, this.hovered);
  }

  /** Zoom so that `node` fills the width. @param {number} node @param {boolean} [animate] */
  zoomTo(node, animate = true) {
    cancelAnimationFrame(this.#animation);
    const [from, to] = [this.#view, this.#viewOf(node)];
    this.focus = node;
    if (!animate || reducedMotion.matches) {
      this.#view = to;
      this.repaint();
      return;
    }
    const started = performance.now();
    const step = (now) => {
      const part = Math.min(1, Math.max(0, now - started) / ZOOM_MS);
      const eased = 1 - (1 - part) ** 3;
      this.#view = part < 1 ? between(from, to, eased) : to;
      this.repaint();
      if (part < 1) this.#animation = requestAnimationFrame(step);
    };
    this.#animation = requestAnimationFrame(step);
  }

  /** @param {number} node -1 for none */
  select(node) {
    this.selected = node;
    this.#remark();
  }

  /** @param {number} node -1 for none */
  hover(node) {
    if (node === this.hovered) return;
    this.hovered = node;
    this.canvas.classList.toggle('pointing', node >= 0);
    this.#remark();
  }

  /** Dim what does not match. @param {Uint8Array|null} matches by frame; null shows all */
  setMatches(matches) {
    this.#matches = matches;
    this.repaint();
  }

  /** The node at a place on the canvas, in CSS pixels; -1 for none. @param {number} px @param {number} py @returns {number} */
  hit(px, py) {
    if (!this.tree || px < 0 || px >= this.width) return -1;
    return nodeAt(this.tree, Math.floor(py / ROW), this.#view.x + (px / this.width) * this.#view.width);
  }

  /** Where a node is now, in CSS pixels; null when it is out of view. @param {number} node */
  box(node) {
    return this.#scene ? boxOf(this.#scene, node) : null;
  }
}

function between(from, to, part) {
  return {x: from.x + (to.x - from.x) * part, width: from.width + (to.width - from.width) * part};
}
