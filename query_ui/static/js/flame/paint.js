// Painting a tree on a canvas. Frames narrower than a pixel are merged into one column of a pixel, never left out.
import {lastAtOrBefore} from './layout.js';

export const ROW = 20;
const TEXT_FROM = 28;
const NOTE_FROM = 90;
const ROUND_FROM = 5;
const FADED = 0.55;

/**
 * @typedef {object} Scene
 * @property {import('./layout.js').Tree} tree
 * @property {{x: number, width: number}} view  the part of the root's value that fills the canvas
 * @property {number} width  CSS pixels
 * @property {number} ratio  device pixels per CSS pixel
 * @property {Uint8Array} colours  colour index by frame
 * @property {Uint8Array|null} matches  by frame, while searching
 * @property {number} focusDepth  levels above it are ancestors of the zoom
 * @property {ReturnType<import('./palette.js').readPalette>} palette
 * @property {import('./text_fit.js').TextFit} text
 * @property {CanvasPattern} hatch
 */

/**
 * Paint everything but hover and selection.
 * @param {CanvasRenderingContext2D} context scaled to CSS pixels
 * @param {Scene} scene
 */
export function paint(context, scene) {
  context.fillStyle = scene.palette.background;
  context.fillRect(0, 0, scene.width, scene.tree.levels * ROW);
  context.font = scene.palette.font;
  context.textBaseline = 'middle';
  for (let level = 0; level < scene.tree.levels; level++) paintLevel(context, scene, level);
}

function paintLevel(context, scene, level) {
  const {tree, view, width, ratio} = scene;
  const scale = width / view.width;
  const end = tree.levelStart[level + 1];
  const first = Math.max(lastAtOrBefore(tree, level, view.x), tree.levelStart[level]);
  const viewEnd = view.x + view.width;
  let painted = -Infinity; // right edge of what is painted so far
  context.globalAlpha = level < scene.focusDepth ? FADED : 1;
  for (let at = first; at < end; at++) {
    const node = tree.levelNodes[at];
    if (tree.x[node] >= viewEnd) break;
    const left = Math.max(Math.round((tree.x[node] - view.x) * scale * ratio) / ratio, 0);
    const right = Math.min(Math.round((tree.x[node] + tree.total[node] - view.x) * scale * ratio) / ratio, width);
    if (right <= painted || right < 0) continue;
    if (right - left < 1) {
      if (left < painted) continue;
      paintSliver(context, scene, node, left, level);
      painted = left + 1;
    } else {
      paintFrame(context, scene, node, left, right, level);
      painted = right;
    }
  }
}

function paintSliver(context, scene, node, left, level) {
  context.fillStyle = fillOf(scene, node, level);
  context.fillRect(left, level * ROW, 0.8, ROW - 1);
}

function paintFrame(context, scene, node, left, right, level) {
  const {tree, palette, colours} = scene;
  const frame = tree.frame[node];
  const width = right - left > 3 ? right - left - 1 : Math.max(right - left - 0.3, 0.6);
  const top = level * ROW;
  context.fillStyle = fillOf(scene, node, level);
  fillBox(context, left, top, width);
  const plain = (scene.matches && level > 0) || tree.marks;
  if (!plain && width > 5 && colours[frame] >= palette.unknownFrom && colours[frame] < palette.unknownTo) {
    context.fillStyle = scene.hatch;
    fillBox(context, left, top, width);
  }
  if (right - left > TEXT_FROM) paintTexts(context, scene, node, left, width, level);
}

/** The name from the left, and where the whole name leaves room, the tree's number at the right. */
function paintTexts(context, scene, node, left, width, level) {
  const {palette, matches, tree, text} = scene;
  const frame = tree.frame[node];
  const label = tree.frames.label[frame];
  const name = text.fit(label, width - 10);
  if (!name) return;
  const note = tree.marks && width > NOTE_FROM ? tree.marks.note(tree, node) : '';
  const alpha = context.globalAlpha;
  context.globalAlpha = 1;
  context.fillStyle = matches && level > 0 ? (matches[frame] ? palette.matchInk : palette.dimInk) : palette.ink;
  context.fillText(name, left + 6, level * ROW + ROW / 2);
  if (note) {
    const noteWidth = text.width(note);
    if (text.width(label) + noteWidth + 28 < width) context.fillText(note, left + width - noteWidth - 7, level * ROW + ROW / 2);
  }
  context.globalAlpha = alpha;
}

function fillOf({palette, matches, colours, tree}, node, level) {
  const frame = tree.frame[node];
  if (matches && level > 0) return matches[frame] ? palette.match : palette.dim;
  return tree.marks ? palette.steps[tree.marks.step(tree, node)] : palette.fills[colours[frame]];
}

function fillBox(context, left, top, width) {
  if (width <= ROUND_FROM) {
    context.fillRect(left, top, width, ROW - 1);
    return;
  }
  context.beginPath();
  context.roundRect(left, top, width, ROW - 1, 2);
  context.fill();
}

/**
 * The outline of the selected frame and the shade of the one under the pointer, on their own canvas.
 * @param {CanvasRenderingContext2D} context
 * @param {Scene} scene
 * @param {number} selected
 * @param {number} hovered
 */
export function paintMarks(context, scene, selected, hovered) {
  context.clearRect(0, 0, scene.width, scene.tree.levels * ROW);
  if (hovered >= 0 && hovered !== selected) {
    const box = boxOf(scene, hovered);
    context.globalAlpha = 0.12;
    context.fillStyle = scene.palette.text;
    if (box) fillBox(context, box.left, box.top, Math.max(box.right - box.left - 1, 1));
    context.globalAlpha = 1;
  }
  const box = selected >= 0 ? boxOf(scene, selected) : null;
  if (!box) return;
  context.strokeStyle = scene.palette.selected;
  context.lineWidth = 1.5;
  context.beginPath();
  context.roundRect(box.left + 0.75, box.top + 0.75, Math.max(box.right - box.left - 2.5, 1), ROW - 2.5, 2);
  context.stroke();
}

/**
 * Where a node is on the canvas, in CSS pixels; null when it is outside of the view.
 * @param {Scene} scene
 * @param {number} node
 * @returns {{left: number, right: number, top: number}|null}
 */
export function boxOf({tree, view, width}, node) {
  const scale = width / view.width;
  const left = (tree.x[node] - view.x) * scale;
  const right = left + tree.total[node] * scale;
  if (right <= 0 || left >= width) return null;
  return {left: Math.max(left, 0), right: Math.min(right, width), top: tree.depth[node] * ROW};
}

/**
 * Diagonal lines for frames without a name.
 * @param {CanvasRenderingContext2D} context
 * @param {string} ink
 * @param {number} ratio
 * @returns {CanvasPattern}
 */
export function hatchPattern(context, ink, ratio) {
  const size = 6;
  const tile = document.createElement('canvas');
  tile.width = tile.height = size * ratio;
  const on = tile.getContext('2d');
  on.scale(ratio, ratio);
  on.globalAlpha = 0.14;
  on.strokeStyle = ink;
  on.lineWidth = 1;
  on.beginPath();
  for (const shift of [-size, 0, size]) {
    on.moveTo(shift, size);
    on.lineTo(shift + size, 0);
  }
  on.stroke();
  const pattern = context.createPattern(tile, 'repeat');
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern;
}
