// The lines of a function as a table: number, cores, share, bar and text, warmer where more time goes.
import {element} from '../dom.js';
import {decimalsFor, fixed, percent} from '../numbers.js';
import {svg} from '../svg.js';

const BAR_PX = 90;
const HEAT = [0.2, 0.08, 0.03, 0];

/** @typedef {{line: number, text: string|null, value: number, inlined: {function: string, value: number}[]}} Line  value in ns */

/**
 * How strongly a line is marked: 4 (a fifth of the function's time or more) to 1, 0 without any.
 * @param {number} share 0..1
 * @returns {number}
 */
export function heatOf(share) {
  return share > 0 ? HEAT.length - HEAT.findIndex((least) => share >= least) : 0;
}

/**
 * The rows, with a mark where lines were left out.
 * @param {Line[]} lines
 * @param {number} own ns of the function
 * @param {number} seconds of the range
 * @param {boolean} hasText
 * @returns {HTMLElement[]}
 */
export function lineRows(lines, own, seconds, hasText) {
  const most = Math.max(1, ...lines.map(({value}) => value));
  const decimals = decimalsFor(most / 1e9 / seconds);
  return lines.flatMap((line, place) => {
    const before = place ? lines[place - 1].line : line.line - 1;
    const row = lineRow(line, own, most, seconds, decimals);
    return hasText && line.line > before + 1 ? [gap(line.line - before - 1), row] : [row];
  });
}

function gap(missing) {
  return element('tr', {class: 'gap'}, element('td', {colspan: '5'}, `${fixed(missing)} line${missing === 1 ? '' : 's'} not shown`));
}

function lineRow({line, text, value, inlined}, own, most, seconds, decimals) {
  const heat = heatOf(value / (own || 1));
  const number = (content, className) => element('td', {class: `num ${className}`}, content);
  const link = element('a', {href: `#L${line}`, 'data-line': String(line), tabindex: '-1'}, String(line));
  const code = text === null ? element('td', {class: 'code none'}, 'no text') : element('td', {class: 'code'}, text);
  code.append(...inlined.map((each) => inlinedMark(each, own)));
  const cells = value
    ? [number(fixed(value / 1e9 / seconds, decimals), 'value'), number(percent(value / (own || 1)), 'value'), element('td', {class: 'bar'}, shareBar(value / most))]
    : [element('td', {class: 'num'}), element('td', {class: 'num'}), element('td', {class: 'bar'})];
  return element('tr', {id: `L${line}`, class: value ? `heat-${heat}` : 'quiet'}, number(link, 'line'), ...cells, code);
}

function inlinedMark({function: name, value}, own) {
  const share = percent(value / (own || 1), 1);
  return element('span', {class: 'inlined', title: `${name}, inlined here by the compiler: ${share} of the function's time`}, `${name} inlined, ${share}`);
}

function shareBar(share) {
  return svg('svg', {class: 'share', viewBox: `0 0 ${BAR_PX} 10`, width: BAR_PX, height: 10, 'aria-hidden': 'true'},
    svg('rect', {x: 0, y: 1, width: Math.max(share * BAR_PX, 1), height: 8, rx: 1}));
}

/**
 * The numbers of the lines with time, most first.
 * @param {Line[]} lines
 * @returns {number[]}
 */
export function byHeat(lines) {
  return lines.filter(({value}) => value).sort((a, b) => b.value - a.value).map(({line}) => line);
}
