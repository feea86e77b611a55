// An alert's effect: the change with its interval, on an axis from zero, with what could not have been seen.
import {amountsFor, change, changeNumber} from '../diff/amounts.js';
import {svg} from '../svg.js';

const HEIGHT = 62;
const EDGE = 14;
const TICKS = 6;

/** Steps between ticks: 1, 2 or 5 times a power of ten. @param {number} span @param {number} ticks @returns {number} */
export function tickStep(span, ticks) {
  const raw = span / ticks;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * [1, 2, 5, 10].find((digit) => digit * power >= raw);
}

/** Multiples of `step` from `low` to `high`. @param {number} low @param {number} high @param {number} step @returns {number[]} */
export function ticksBetween(low, high, step) {
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}

/**
 * @param {{unit: string, delta: number, interval: [number, number]|null, detectable: number|null}} evidence
 * @param {number} width CSS pixels
 * @returns {SVGElement}
 */
export function effectBar({unit, delta, interval, detectable}, width) {
  const amounts = amountsFor(unit);
  const [low, high] = interval || [delta, delta];
  const reach = Math.max(Math.abs(low), Math.abs(high), detectable || 0);
  const end = Math.max(high, delta, detectable || 0, 0) + reach * 0.08;
  const start = Math.min(low, delta, -(detectable || 0), 0) - reach * 0.03;
  const x = (value) => EDGE + ((value - start) / (end - start)) * (width - 2 * EDGE);
  const words = `${interval ? `95 % interval ${changeNumber(amounts, low)} to ${changeNumber(amounts, high)}` : 'no interval: too few hosts'}`;
  const made = svg('svg', {class: 'effect-bar', viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img', 'aria-label': `Effect ${change(amounts, delta)}, ${words}`});
  if (detectable) made.append(svg('rect', {class: 'zone', x: x(-detectable), width: x(detectable) - x(-detectable), y: 8, height: 32, rx: 2}));
  made.append(svg('line', {class: 'axis', x1: x(start), x2: x(end), y1: 40, y2: 40}), svg('line', {class: 'axis', x1: x(0), x2: x(0), y1: 8, y2: 40}));
  const direction = delta >= 0 ? 'more' : 'less';
  if (interval) made.append(svg('line', {class: `range ${direction}`, x1: x(low), x2: Math.max(x(high), x(low) + 1), y1: 24, y2: 24}));
  made.append(svg('circle', {class: `point ${direction}`, cx: x(delta), cy: 24, r: 7}));
  const few = width < 420;
  for (const value of ticksBetween(start, end, tickStep(end - start, few ? 3 : TICKS))) {
    made.append(svg('text', {x: x(value), y: 56, 'text-anchor': 'middle'}, Math.abs(value) < reach * 1e-9 ? '0' : changeNumber({...amounts, decimals: decimals(value * amounts.factor)}, value)));
  }
  const zone = detectable ? `not visible below ±${changeNumber(amounts, detectable).slice(1)}` : '';
  label(made, {words, zone, zoneStart: detectable ? x(-detectable) : x(0), left: x(Math.min(low, delta)), right: x(Math.max(high, delta)), zoneEnd: detectable ? x(detectable) : x(0), width});
  return made;
}

/** The interval and the zone in words, where there is room for them. */
function label(made, {words, zone, left, right, zoneStart, zoneEnd, width}) {
  if (zone && zoneEnd - zoneStart > zone.length * 5.8 && left > zoneEnd) made.append(svg('text', {x: zoneStart + 8, y: 20}, zone));
  for (const text of [words, words.replace('95 % interval ', '')]) {
    const room = text.length * 6.4 + 24;
    if (left - zoneEnd > room) made.append(svg('text', {class: 'words', x: left - 12, y: 28, 'text-anchor': 'end'}, text));
    else if (width - right > room) made.append(svg('text', {class: 'words', x: right + 12, y: 28}, text));
    else continue;
    return;
  }
}

function decimals(value) {
  return Math.abs(value) >= 10 ? 0 : Math.abs(value) >= 1 ? 1 : Math.abs(value) >= 0.1 ? 2 : 3;
}
