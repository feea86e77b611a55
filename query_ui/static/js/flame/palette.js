// Which colour a frame has: its kind of code decides the hue, its mapping one of three tones.
import {colour, tokenText} from '../theme.js';

const CLASS_OF_KIND = {
  native: 'native', go: 'native', rust: 'native', kernel: 'kernel', python: 'interpreted',
  jvm: 'jit', node: 'jit', jit: 'jit', label: 'group', unknown: 'unknown', pruned: 'unknown',
};
const TITLES = {interpreted: 'Interpreted', jit: 'JIT', native: 'Native', kernel: 'Kernel', unknown: 'Unknown', group: 'Group'};
const KIND_TITLES = {
  native: 'Native', go: 'Go', rust: 'Rust', kernel: 'Kernel', python: 'Python', jvm: 'JVM', node: 'Node.js', jit: 'JIT',
  label: 'Group', unknown: 'Unknown', pruned: 'Small frames, merged',
};

/** The classes in the order of the legend. */
export const CLASSES = ['interpreted', 'jit', 'native', 'kernel', 'unknown', 'group'];

/** The class (colour family) of a kind of frame. @param {string} kind @returns {string} */
export function classOf(kind) {
  return CLASS_OF_KIND[kind] || 'unknown';
}

/** The legend's word for a class. @param {string} name @returns {string} */
export function classTitle(name) {
  return TITLES[name];
}

/** What a kind is called in the tooltip and the details. @param {string} kind @returns {string} */
export function kindTitle(kind) {
  return KIND_TITLES[kind] || kind;
}

/**
 * For each frame the index of its colour: class × 3 + tone.
 * @param {import('./layout.js').Frames} frames
 * @returns {Uint8Array}
 */
export function colourIndices(frames) {
  const indices = new Uint8Array(frames.name.length);
  const tones = new Map();
  for (let i = 0; i < indices.length; i++) {
    const mapping = frames.mapping[i];
    if (!tones.has(mapping)) tones.set(mapping, toneOf(mapping));
    indices[i] = CLASSES.indexOf(classOf(frames.kind[i])) * 3 + tones.get(mapping);
  }
  return indices;
}

function toneOf(mapping) {
  let hash = 7;
  for (let i = 0; i < mapping.length; i++) hash = (hash * 31 + mapping.charCodeAt(i)) >>> 0;
  return hash % 3;
}

/** Steps of the scale of differences, from much less to much more; the middle is no visible change. */
export const STEPS = 9;

/**
 * The colours of the theme that is on now.
 * @returns {{fills: string[], steps: string[], unknownFrom: number, unknownTo: number, background: string, ink: string, match: string,
 *   matchInk: string, dim: string, dimInk: string, selected: string, text: string, font: string}}
 */
export function readPalette() {
  const fills = CLASSES.flatMap((name) => [1, 2, 3].map((tone) => colour(`--frame-${name}-${tone}`)));
  const unknownFrom = CLASSES.indexOf('unknown') * 3;
  return {
    fills, steps: Array.from({length: STEPS}, (_, step) => colour(`--diff-${step}`)), unknownFrom, unknownTo: unknownFrom + 3,
    background: colour('--surface'), ink: colour('--frame-ink'), text: colour('--text'),
    match: colour('--match'), matchInk: colour('--match-ink'), dim: colour('--dim'), dimInk: colour('--dim-ink'),
    selected: colour('--selected'), font: `12px ${tokenText('--font')}`,
  };
}
