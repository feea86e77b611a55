// The tree of a difference: what each node has in A and in B, and how wide that makes it.
import {decode} from '../flame/wire.js';
import {STEPS} from '../flame/palette.js';

const MIDDLE = (STEPS - 1) / 2;
const VISIBLE_Z = 3;
/** Relative changes from which the colour is one step stronger. */
const EDGES = [0.03, 0.12, 0.3, 0.6];

/**
 * One side of a comparison.
 * @typedef {object} Arm
 * @property {number} factor  what its nanoseconds are multiplied with to become the unit of the comparison
 * @property {number} noise  nanoseconds behind one sample: the variance of a value is value × noise
 * @property {number} common  what values are multiplied with besides, to take out the factor common to all functions
 */

/**
 * Columns of the tree, as layout.js takes them, with the sums `a`, `b`, `selfA`, `selfB` in nanoseconds.
 * @param {any} wire the `flame` of /diff
 * @param {{a: Arm, b: Arm}} arms
 * @param {"both"|"a"|"b"} width whose values make the width; a node without width is left out
 */
export function diffColumns(wire, arms, width) {
  const selfA = Float64Array.from(wire.self_a);
  const selfB = Float64Array.from(wire.self_b);
  const weight = {a: width === 'b' ? 0 : arms.a.factor, b: width === 'a' ? 0 : arms.b.factor};
  const self = selfA.map((value, node) => value * weight.a + selfB[node] * weight.b);
  const whole = wire.whole_a * weight.a + wire.whole_b * weight.b;
  const columns = {...decode({...wire, self, whole}), ...sums(wire.depth, {selfA, selfB}), selfA, selfB};
  columns.sums = ['total', 'self', 'a', 'b', 'selfA', 'selfB'];
  return kept(columns, width);
}

/** Totals of both sides by node: children follow their parents. */
function sums(depth, {selfA, selfB}) {
  const a = Float64Array.from(selfA);
  const b = Float64Array.from(selfB);
  const above = [];
  const parent = depth.map((level, node) => {
    above[level] = node;
    return level ? above[level - 1] : -1;
  });
  for (let node = depth.length - 1; node > 0; node--) {
    a[parent[node]] += a[node];
    b[parent[node]] += b[node];
  }
  return {a, b};
}

/** Only the nodes that the side has which gives the width: what it does not have cannot be pointed at. */
function kept(columns, width) {
  if (width === 'both') return columns;
  const there = Array.from(columns[width].keys()).filter((node) => node === 0 || columns[width][node] > 0);
  if (there.length === columns.n) return columns;
  const picked = {...columns, n: there.length};
  for (const name of ['frame', 'depth', 'self', 'selfA', 'selfB', 'a', 'b']) {
    picked[name] = columns[name].constructor.from(there, (node) => columns[name][node]);
  }
  return picked;
}

/**
 * What changed at a node, in the unit of the comparison.
 * @param {{a: Arm, b: Arm}} arms
 * @param {number} a nanoseconds
 * @param {number} b nanoseconds
 * @returns {number}
 */
export function deltaOf(arms, a, b) {
  return b * arms.b.factor - a * arms.a.factor;
}

/**
 * The step of the colour scale: the middle where the change could be chance of sampling, else by the change
 * relative to the larger side, so that a vanished and a new frame have the strongest colours. Shares add up to
 * one, so that one function's growth shrinks all others; that common factor is taken out, as the tests do.
 * @param {{a: Arm, b: Arm}} arms
 * @param {number} a nanoseconds
 * @param {number} b nanoseconds
 * @returns {number} 0 .. STEPS - 1
 */
export function stepOf(arms, a, b) {
  const [scaleA, scaleB] = [arms.a.factor * arms.a.common, arms.b.factor * arms.b.common];
  const delta = b * scaleB - a * scaleA;
  const variance = a * arms.a.noise * scaleA ** 2 + b * arms.b.noise * scaleB ** 2;
  if (Math.abs(delta) <= VISIBLE_Z * Math.sqrt(variance)) return MIDDLE;
  const part = Math.abs(delta) / Math.max(a * scaleA, b * scaleB);
  const strength = EDGES.filter((edge) => part >= edge).length;
  return MIDDLE + Math.sign(delta) * strength;
}
