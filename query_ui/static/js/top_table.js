// The functions with the most time: the table beside the graph, and its twin for who cannot see the canvas.
import {byId, element} from './dom.js';
import {decimalsFor, fixed, percent} from './numbers.js';
import {classOf, kindTitle} from './flame/palette.js';
import {shortName} from './flame/wire.js';

const SHOWN = 200;

/** @typedef {{name: string, kind: string, mapping: string, location: string, self: number, total: number}} TopRow  times in ns */

export class TopTable {
  #rows = [];
  #whole = 1;
  #seconds = 1;
  #sort = '-self';
  #filter = '';
  #selected = '';
  #body = byId('top');

  /**
   * @param {(row: TopRow) => void} pick
   * @param {(sort: string) => void} sort called with "name", "-self" …
   */
  constructor(pick, sort) {
    this.#body.addEventListener('click', (event) => this.#picked(event.target.closest('tr'), pick));
    this.#body.addEventListener('keydown', (event) => this.#key(event, pick));
    for (const head of document.querySelectorAll('th[data-sort]')) {
      head.querySelector('button').addEventListener('click', () => sort(this.#flipped(head.dataset.sort)));
    }
  }

  #flipped(column) {
    const falling = column !== 'name';
    const first = falling ? `-${column}` : column;
    return this.#sort === first ? (falling ? column : `-${column}`) : first;
  }

  /** @param {TopRow[]} rows @param {number} whole ns of the selection @param {number} seconds of the range @param {string} unit */
  show(rows, whole, seconds, unit) {
    this.#rows = rows;
    this.#whole = whole || 1;
    this.#seconds = seconds;
    byId('cores-head').querySelector('button').textContent = unit[0].toUpperCase() + unit.slice(1);
    this.#render();
  }

  /** @param {string} sort */
  sortBy(sort) {
    this.#sort = sort;
    this.#render();
  }

  /** Show only functions whose name has this text. @param {string} text */
  filter(text) {
    this.#filter = text.trim().toLowerCase();
    this.#render();
  }

  /** Mark the row of the selected frame. @param {string} name "" for none */
  select(name) {
    this.#selected = name;
    for (const line of this.#body.rows) line.setAttribute('aria-selected', String(line.dataset.name === name));
  }

  /** The rows as they are shown now. @returns {TopRow[]} */
  get shown() {
    const column = this.#sort.replace('-', '');
    const direction = this.#sort.startsWith('-') ? -1 : 1;
    const order = (a, b) => (column === 'name' ? a.name.localeCompare(b.name) : a[column] - b[column]) * direction;
    return this.#rows.filter(({name}) => name.toLowerCase().includes(this.#filter)).sort(order);
  }

  #render() {
    const rows = this.shown;
    const largest = Math.max(0, ...rows.map(({self}) => self)) / 1e9 / this.#seconds;
    this.#body.replaceChildren(...rows.slice(0, SHOWN).map((row) => this.#line(row, decimalsFor(largest))));
    this.#markSort();
    const note = byId('top-note');
    note.hidden = rows.length > 0 && rows.length <= SHOWN;
    note.textContent = rows.length ? `The first ${SHOWN} of ${rows.length} functions. Search to see others.` : this.#filter && this.#rows.length ? 'No function has this in its name.' : '';
  }

  #line(row, decimals) {
    const title = [row.name, kindTitle(row.kind), row.location, row.mapping].filter(Boolean).join('\n');
    const name = element('div', {class: 'function', title}, element('i', {class: `kind ${classOf(row.kind)}`}),
      element('b', {}, shortName(row.name, row.kind)), element('small', {}, row.location || row.mapping));
    const number = (text, extra = '') => element('td', {class: `num ${extra}`}, text);
    return element('tr', {tabindex: '0', 'data-name': row.name, 'data-mapping': row.mapping, 'aria-selected': String(row.name === this.#selected)},
      element('td', {}, name), number(percent(row.self / this.#whole)), number(percent(row.total / this.#whole), 'muted'),
      number(fixed(row.self / 1e9 / this.#seconds, decimals)));
  }

  #markSort() {
    const column = this.#sort.replace('-', '');
    for (const head of document.querySelectorAll('th[data-sort]')) {
      const isThis = head.dataset.sort === column && head.id !== 'cores-head';
      if (isThis) head.setAttribute('aria-sort', this.#sort.startsWith('-') ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
  }

  #picked(line, pick) {
    const row = line && this.#rows.find(({name, mapping}) => name === line.dataset.name && mapping === line.dataset.mapping);
    if (row) pick(row);
  }

  #key(event, pick) {
    const line = event.target.closest('tr');
    if (event.key === 'Enter') this.#picked(line, pick);
    const next = {ArrowDown: line?.nextElementSibling, ArrowUp: line?.previousElementSibling}[event.key];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }
}
