// Small pictures in tables. All geometry is in attributes, so they need no inline style.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * A new SVG element. Strings among the children become text.
 * @param {string} tag
 * @param {Record<string, string|number>} [attributes]
 * @param {...(Node|string)} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * A change with its interval on a scale from -max to max; the grey zone is what could not have been seen.
 * @param {{low: number|null, middle: number, high: number|null, zone: number|null, max: number, direction: string, label: string, width?: number}} given
 *   direction: "more", "less" or "" for grey
 * @returns {SVGElement}
 */
export function intervalBar({low, middle, high, zone, max, direction, label, width = 284}) {
  const edge = 6;
  const x = (value) => edge + ((Math.max(-max, Math.min(max, value)) + max) / (2 * max)) * (width - 2 * edge);
  const made = svg('svg', {class: `interval ${direction}`, viewBox: `0 0 ${width} 22`, width, height: 22, role: 'img', 'aria-label': label});
  if (zone !== null) made.append(svg('rect', {class: 'zone', x: x(-zone), y: 3, width: Math.max(x(zone) - x(-zone), 1), height: 16, rx: 1}));
  made.append(svg('line', {class: 'zero', x1: x(0), x2: x(0), y1: 1, y2: 21}));
  if (low !== null && high !== null) made.append(svg('line', {class: 'range', x1: x(low), x2: Math.max(x(high), x(low) + 1), y1: 11, y2: 11}));
  made.append(svg('circle', {class: 'point', cx: x(middle), cy: 11, r: 4.2}));
  return made;
}

/**
 * A bar with a line at the limit.
 * @param {number} value
 * @param {number} max right end
 * @param {number} limit where the line is
 * @param {string} state "over", "near" or ""
 * @returns {SVGElement}
 */
export function meter(value, max, limit, state) {
  const width = 72;
  const at = (limit / max) * width;
  return svg('svg', {class: 'meter', viewBox: `0 0 ${width} 8`, width, height: 8, 'aria-hidden': 'true'},
    svg('rect', {class: 'track', y: 1, width, height: 6, rx: 3}),
    svg('rect', {class: `value ${state}`, y: 1, width: Math.min(value / max, 1) * width, height: 6, rx: 3}),
    svg('line', {class: 'limit', x1: at, x2: at, y1: 0, y2: 8}));
}

/**
 * One cell a number 0..1: complete, in part, nothing; null is not expected and left empty.
 * @param {(number|null)[]} cells
 * @param {string} label
 * @returns {SVGElement}
 */
export function cellStrip(cells, label) {
  const full = 0.995;
  const made = svg('svg', {class: 'cells', viewBox: `0 0 ${cells.length * 6} 18`, width: cells.length * 6, height: 18, role: 'img', 'aria-label': label});
  cells.forEach((value, index) => {
    const state = value === null ? 'unexpected' : value >= full ? 'full' : value > 0 ? 'part' : 'none';
    const low = state === 'none' || state === 'unexpected';
    made.append(svg('rect', {class: state, x: index * 6, y: low ? 8 : 3, width: 4.6, height: low ? 2 : 12, rx: 1}));
  });
  return made;
}

/**
 * The mark of a state of health; shape and word carry it, colour only repeats it.
 * @param {"good"|"warning"|"bad"|"off"} state
 * @returns {SVGElement}
 */
export function healthMark(state) {
  const shapes = {
    good: ['circle', {cx: 5, cy: 5, r: 4}], warning: ['path', {d: 'M5 .6 9.8 9.2H.2z'}],
    bad: ['rect', {x: 0.8, y: 0.8, width: 8.4, height: 8.4, rx: 1}], off: ['circle', {cx: 5, cy: 5, r: 3.6}],
  };
  const [tag, geometry] = shapes[state];
  return svg('svg', {class: `health ${state}`, viewBox: '0 0 10 10', width: 10, height: 10, 'aria-hidden': 'true'}, svg(tag, geometry));
}
