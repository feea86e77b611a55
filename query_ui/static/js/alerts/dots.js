// Each host as a dot: on the baseline and on the new version. Lines join hosts that were on both.
import {amount, amountsFor} from '../diff/amounts.js';
import {svg} from '../svg.js';
import {tickStep, ticksBetween} from './effect.js';

const HEIGHT = 212;
const LEFT = 62;
const BOTTOM = 40;
const TOP = 16;
const NARROW_PX = 480;
const GOLDEN = 0.618034;

/** @typedef {{host: string, before: number|null, after: number|null}} HostPair */

/**
 * @param {HostPair[]} hosts
 * @param {string} unit
 * @param {[string, string]} names of the two columns
 * @param {number} width CSS pixels
 * @returns {SVGElement}
 */
export function hostDots(hosts, unit, names, width) {
  const amounts = amountsFor(unit);
  const values = hosts.flatMap(({before, after}) => [before, after]).filter((value) => value !== null);
  const [low, high] = spread(values);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - BOTTOM - TOP);
  const columns = [columnOf(hosts, 'before', LEFT + (width - LEFT) * 0.27), columnOf(hosts, 'after', LEFT + (width - LEFT) * 0.73)];
  const means = columns.map(({mean}) => amount(amounts, mean));
  const made = svg('svg', {
    class: 'dots', viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img',
    'aria-label': `By host: ${columns[0].dots.length} on ${names[0]}, mean ${means[0]}; ${columns[1].dots.length} on ${names[1]}, mean ${means[1]}.`,
  });
  for (const value of ticksBetween(low, high, tickStep(high - low, 5))) {
    made.append(svg('line', {class: 'grid', x1: LEFT, x2: width, y1: y(value), y2: y(value)}), svg('text', {x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end'}, tick(amounts, value, high - low)));
  }
  const reach = Math.min(46, width * 0.09);
  const place = (column, dot) => column.x + dot.offset * reach;
  for (const [index, dot] of joined(columns)) {
    made.append(svg('line', {class: 'pair', x1: place(columns[0], columns[0].dots[index]), y1: y(columns[0].dots[index].value), x2: place(columns[1], dot), y2: y(dot.value)}));
  }
  columns.forEach((column, side) => {
    for (const dot of column.dots) made.append(svg('circle', {class: `dot side-${side}`, cx: place(column, dot), cy: y(dot.value), r: 2.6}, svg('title', {}, `${dot.host}: ${amount(amounts, dot.value)}`)));
    made.append(svg('text', {class: 'name', x: column.x, y: HEIGHT - 8, 'text-anchor': 'middle'}, `${column.dots.length} host${column.dots.length === 1 ? '' : 's'}${width < NARROW_PX ? ',' : ' on'} ${names[side]}`));
    if (!column.dots.length) return;
    const top = Math.max(...column.dots.map(({value}) => value));
    const label = width < NARROW_PX ? {x: column.x, y: y(top) - 8, 'text-anchor': 'middle'} : {x: column.x + reach + 10, y: y(column.mean) + 4};
    made.append(svg('line', {class: 'mean', x1: column.x - reach * 0.7, x2: column.x + reach * 0.7, y1: y(column.mean), y2: y(column.mean)}), svg('text', label, means[side]));
  });
  return made;
}

function columnOf(hosts, name, x) {
  const dots = hosts.filter((host) => host[name] !== null).map((host, index) => ({host: host.host, value: host[name], offset: (((index + 1) * GOLDEN) % 1) * 2 - 1}));
  return {x, dots, mean: dots.length ? dots.reduce((sum, {value}) => sum + value, 0) / dots.length : null};
}

/** [place of the host's first dot, its second dot] of hosts that have both. */
function joined([before, after]) {
  const place = new Map(before.dots.map(({host}, index) => [host, index]));
  return after.dots.filter(({host}) => place.has(host)).map((dot) => [place.get(dot.host), dot]);
}

/** The ends of the axis: it starts at zero where the values are not far from it. */
function spread(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least || Math.abs(most) || 1) * 0.1;
  return [least < most * 0.35 ? Math.min(0, least) : least - room, most + room];
}

function tick(amounts, value, span) {
  const shown = span * amounts.factor;
  return amount({...amounts, decimals: shown >= 10 ? 0 : shown >= 1 ? 1 : shown >= 0.1 ? 2 : 3}, value).replace(/\s?cores$/, '');
}
