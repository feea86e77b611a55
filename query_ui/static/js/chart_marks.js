// Moments on a chart over time: diamonds for releases, triangles for alerts. A label that would touch the one
// before it is left out; its mark stays.
import {colour, tokenText} from './theme.js';

/** Room above the lines that marks and labels need. */
export const MARKS_PX = 24;
const NEAR_PX = 6;
const HALF = 4;

/** @typedef {{at: number, kind: "release"|"alert", label: string, title: string}} Mark  at: Unix seconds */

/**
 * Draw the marks that lie in the plot's range.
 * @param {import('../vendor/uplot/uPlot.esm.js').default} plot
 * @param {Mark[]} marks
 */
export function drawMarks(plot, marks) {
  const {ctx: context, bbox} = plot;
  const ratio = devicePixelRatio;
  const inks = {release: colour('--text-2'), alert: colour('--bad-mark')};
  let free = -Infinity;
  context.save();
  context.font = `${11 * ratio}px ${tokenText('--font')}`;
  context.textBaseline = 'middle';
  context.textAlign = 'left';
  for (const mark of inside(plot, marks)) {
    const x = Math.round(plot.valToPos(mark.at, 'x', true));
    const y = bbox.top - 10 * ratio;
    context.strokeStyle = context.fillStyle = inks[mark.kind];
    context.lineWidth = ratio;
    context.setLineDash(mark.kind === 'release' ? [3 * ratio, 3 * ratio] : []);
    line(context, x, bbox.top - 4 * ratio, bbox.top + bbox.height);
    shape(context, mark.kind, x, y, HALF * ratio);
    const width = context.measureText(mark.label).width;
    const start = x + 8 * ratio;
    if (start < free || start + width > bbox.left + bbox.width + 14 * ratio) continue;
    context.fillStyle = mark.kind === 'release' ? colour('--text-2') : colour('--bad');
    context.fillText(mark.label, start, y);
    free = start + width + 14 * ratio;
  }
  context.restore();
}

function inside(plot, marks) {
  const {min, max} = plot.scales.x;
  return marks.filter(({at}) => at >= min && at <= max).sort((a, b) => a.at - b.at);
}

function line(context, x, from, to) {
  context.beginPath();
  context.moveTo(x, from);
  context.lineTo(x, to);
  context.stroke();
  context.setLineDash([]);
}

function shape(context, kind, x, y, half) {
  context.beginPath();
  context.moveTo(x - half, kind === 'release' ? y : y - half);
  if (kind === 'release') context.lineTo(x, y - half);
  context.lineTo(x + half, kind === 'release' ? y : y - half);
  context.lineTo(x, y + half);
  context.closePath();
  context.fill();
}

/**
 * The marks under the pointer.
 * @param {import('../vendor/uplot/uPlot.esm.js').default} plot
 * @param {Mark[]} marks
 * @param {number} left of the pointer in the plot, CSS pixels
 * @returns {Mark[]}
 */
export function marksNear(plot, marks, left) {
  return inside(plot, marks).filter(({at}) => Math.abs(plot.valToPos(at, 'x') - left) <= NEAR_PX);
}

/**
 * Marks of releases.
 * @param {{service: string, version: string, first_seen_s: number, predecessor: string}[]} releases
 * @param {boolean} named whether the service has to be said
 * @returns {Mark[]}
 */
export function releaseMarks(releases, named) {
  return releases.filter(({predecessor}) => predecessor).map(({service, version, first_seen_s: at}) => ({
    at, kind: 'release', label: named ? `${service} ${version}` : version, title: `Release: ${service} ${version}`,
  }));
}

/**
 * Marks of alerts, where they began to fire.
 * @param {{function: string, service: string, fired_at: number|null, summary: string}[]} alerts
 * @returns {Mark[]}
 */
export function alertMarks(alerts) {
  const byTime = new Map();
  for (const alert of alerts) if (alert.fired_at) byTime.set(alert.fired_at, [...(byTime.get(alert.fired_at) || []), alert]);
  return [...byTime].map(([at, fired]) => ({
    at, kind: 'alert', label: fired.length > 1 ? `${fired.length} alerts` : 'alert', title: fired.map(({summary}) => `Alert: ${summary}`).join('\n'),
  }));
}
