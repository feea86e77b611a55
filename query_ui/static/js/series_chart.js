// The selection over time, with uPlot: gaps stay gaps, a drag selects a time and offers to zoom to it.
import uPlot from '../vendor/uplot/uPlot.esm.js';
import {drawMarks, MARKS_PX, marksNear} from './chart_marks.js';
import {button, element} from './dom.js';
import {fixed} from './numbers.js';
import {colour, tokenText} from './theme.js';
import {clock, day} from './time.js';

const HEIGHT = 138;
const GROUP_TOKENS = ['--group-1', '--group-2', '--group-3', '--group-4', '--group-5', '--group-6'];

/** @typedef {{step_s: number, start_s: number[], series: {labels: Record<string, string>, values: (number|null)[]}[]}} SeriesAnswer */

export class SeriesChart {
  #box;
  #plot = null;
  #shown = null;
  #zoom;
  #compare;
  #brush = null;

  /**
   * @param {HTMLElement} box
   * @param {(from: number, to: number) => void} zoom called with Unix seconds
   * @param {((from: number, to: number) => void)|null} [compare] called where a range is to be compared with the one before
   */
  constructor(box, zoom, compare = null) {
    this.#box = box;
    this.#compare = compare;
    this.#zoom = zoom;
    addEventListener('themechange', () => this.#shown && this.show(...this.#shown));
    new ResizeObserver(() => this.#plot?.setSize({width: this.#width(), height: HEIGHT})).observe(box);
  }

  #width() {
    const style = getComputedStyle(this.#box);
    return this.#box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  }

  /**
   * @param {SeriesAnswer} answer values in cores (or threads)
   * @param {string} unit
   * @param {string} groupBy
   * @param {import('./chart_marks.js').Mark[]} [marks] releases and alerts
   */
  show(answer, unit, groupBy, marks = []) {
    this.#shown = [answer, unit, groupBy, marks];
    this.hideBrush();
    this.#plot?.destroy();
    this.#plot = null;
    const any = answer.series.some(({values}) => values.some((value) => value !== null));
    this.#box.classList.toggle('empty', !any);
    this.#box.replaceChildren(...(any ? [] : ['Nothing in this range.']));
    if (!any) return;
    const data = [answer.start_s, ...answer.series.map(({values}) => values)];
    this.#plot = new uPlot(this.#options(answer, unit, marks), data, this.#box);
  }

  /** The colours of the lines in order, for a legend. @param {number} many @returns {string[]} */
  static colours(many) {
    if (many === 1) return [colour('--series')];
    return Array.from({length: many}, (_, index) => colour(GROUP_TOKENS[index] || '--series-rest'));
  }

  #options(answer, unit, marks) {
    const colours = SeriesChart.colours(answer.series.length);
    const single = answer.series.length === 1;
    const largest = Math.max(0.001, ...answer.series.flatMap(({values}) => values.filter((value) => value !== null)));
    const days = answer.start_s.at(-1) - answer.start_s[0] > 2 * 86400;
    const font = `11px ${tokenText('--font')}`;
    const axis = {stroke: colour('--text-3'), font, ticks: {show: false}};
    return {
      width: this.#width(), height: HEIGHT, legend: {show: false}, padding: [marks.length ? MARKS_PX : 8, 16, 0, 0],
      cursor: {y: false, points: {size: 7, width: 2, fill: colour('--surface')}, drag: {x: true, y: false, setScale: false}},
      scales: {x: {time: true}, y: {range: [0, largest * 1.12]}},
      series: [{}, ...colours.map((stroke) => ({
        stroke, width: single ? 1.6 : 1.4, fill: single ? colour('--series-fill') : undefined, points: {show: false}, spanGaps: false,
      }))],
      axes: [
        {...axis, grid: {show: false}, size: 22, gap: 4, space: 74, values: (_, ticks) => ticks.map((tick) => (days ? day(tick).slice(4) : clock(tick)))},
        {...axis, grid: {stroke: colour('--grid'), width: 1}, size: 46, gap: 6, space: 30, values: (_, ticks) => tickTexts(ticks)},
      ],
      hooks: {
        drawClear: [(plot) => hatchGaps(plot, answer)],
        draw: [(plot) => drawMarks(plot, marks)],
        setSelect: [(plot) => this.#selected(plot)],
        setCursor: [(plot) => this.#point(plot, answer, unit, marks)],
      },
    };
  }

  #point(plot, answer, unit, marks) {
    const at = plot.cursor.idx;
    const texts = at == null ? [] : answer.series.map(({values, labels}) => {
      const value = values[at] === null ? 'no data' : `${fixed(values[at], 2)} ${unit}`;
      const name = Object.values(labels)[0];
      return name ? `${name}: ${value}` : value;
    });
    const near = at == null ? [] : marksNear(plot, marks, plot.cursor.left);
    this.#box.title = at == null ? '' : [`${clock(answer.start_s[at])} UTC`, ...texts, ...near.map(({title}) => title)].join('\n');
  }

  #selected(plot) {
    const {left, width} = plot.select;
    if (width < 4) {
      this.hideBrush();
      return;
    }
    const from = Math.floor(plot.posToVal(left, 'x'));
    const to = Math.ceil(plot.posToVal(left + width, 'x'));
    this.#offer(left + width + plot.over.offsetLeft, from, Math.max(to, from + 10));
  }

  #offer(right, from, to) {
    this.#brush?.remove();
    this.#brush = element('div', {class: 'brush', role: 'group', 'aria-label': `${clock(from)} to ${clock(to)}`},
      button('Zoom', () => this.#zoom(from, to), 'btn small primary'),
      ...(this.#compare ? [button('Compare with before', () => this.#compare(from, to))] : []), button('Cancel', () => this.hideBrush()));
    this.#box.append(this.#brush);
    const left = Math.min(right + 12, this.#box.clientWidth - this.#brush.offsetWidth - 12);
    this.#brush.style.left = `${Math.max(left, 8)}px`;
  }

  /** The releases and alerts that are shown. @returns {import('./chart_marks.js').Mark[]} */
  get marks() {
    return this.#shown?.[3] || [];
  }

  /** Forget the selected time. */
  hideBrush() {
    this.#brush?.remove();
    this.#brush = null;
    if (this.#plot?.select.width) this.#plot.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
  }

  /** Where a time is in page coordinates; for tests. @param {number} seconds Unix @returns {{x: number, y: number}|null} */
  positionOf(seconds) {
    if (!this.#plot) return null;
    const box = this.#plot.over.getBoundingClientRect();
    return {x: box.left + this.#plot.valToPos(seconds, 'x'), y: box.top + box.height / 2};
  }
}

/** Ticks with as many decimals as the step between them needs. */
function tickTexts(ticks) {
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : ticks[0] || 1;
  const decimals = [0, 1, 2, 3].find((many) => Math.abs(step * 10 ** many - Math.round(step * 10 ** many)) < 1e-6) ?? 4;
  return ticks.map((tick) => (tick === 0 ? '0' : fixed(tick, decimals)));
}

/** Hatch the times for which no host reported: a missing value is not zero. */
function hatchGaps(plot, answer) {
  const {left, top, width, height} = plot.bbox;
  const context = plot.ctx;
  context.save();
  context.strokeStyle = colour('--gap');
  context.lineWidth = devicePixelRatio;
  for (const [from, to] of gapsOf(answer)) {
    const start = Math.max(plot.valToPos(from, 'x', true), left);
    const end = Math.min(plot.valToPos(to, 'x', true), left + width);
    if (end <= start) continue;
    context.save();
    context.beginPath();
    context.rect(start, top, end - start, height);
    context.clip();
    context.beginPath();
    for (let x = start - height; x < end; x += 6 * devicePixelRatio) {
      context.moveTo(x, top + height);
      context.lineTo(x + height, top);
    }
    context.stroke();
    context.restore();
  }
  context.restore();
}

/**
 * Runs of steps without any value, from the last known value to the next one.
 * @param {SeriesAnswer} answer
 * @returns {[number, number][]}
 */
export function gapsOf({start_s: starts, series, step_s: step}) {
  const gaps = [];
  let from = null;
  starts.forEach((start, index) => {
    const missing = series.every(({values}) => values[index] === null);
    if (missing && from === null) from = index ? starts[index - 1] : start;
    if (!missing && from !== null) {
      gaps.push([from, start]);
      from = null;
    }
  });
  if (from !== null) gaps.push([from, starts.at(-1) + step]);
  return gaps;
}
