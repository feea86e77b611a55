// The time range: a list of relative ranges, two fields for an absolute one, and the buttons that shift it.
import {byId, element} from './dom.js';
import {attach, option} from './popup.js';
import {current, update} from './state.js';
import {duration, rangeTitle, RELATIVE, resolve, secondsBack, shift, toWindow, typed} from './time.js';

/** The range of one selection; it is kept in the URL as `${prefix}from` and `${prefix}to`. */
export class RangeMenu {
  #prefix;
  #opener;
  #menu;
  #popup;

  /** @param {string} [prefix] "" or "a_"; ids have a "-" in place of the "_" */
  constructor(prefix = '') {
    this.#prefix = prefix;
    const id = (name) => byId(prefix.replace('_', '-') + name);
    this.#opener = id('range');
    this.#menu = id('range-menu');
    this.#popup = attach(this.#opener, this.#menu, () => this.#fill());
  }

  /** @returns {{from: string, to: string}} as in the URL */
  get range() {
    return {from: current()[`${this.#prefix}from`], to: current()[`${this.#prefix}to`]};
  }

  /** Open the menu. */
  open() {
    this.#popup.show();
  }

  /** Write the range's title on its button. */
  show() {
    const {from, to} = this.range;
    const zone = secondsBack(from) ? [] : [element('span', {class: 'faint narrow-hide'}, ' UTC')];
    byId(`${this.#opener.id}-title`).replaceChildren(rangeTitle(from, to), ...zone);
  }

  /** The range moved by its own length, as a patch of the state. @param {1|-1} direction @returns {Record<string, string>} */
  shifted(direction) {
    const {from, to} = this.range;
    const [start, end] = [from, to].map((text) => toWindow(resolve(text)));
    if (start === null || end === null || end <= start) return {};
    const moved = shift(start, end, direction);
    return this.#patch(moved.from, moved.to);
  }

  #patch(from, to) {
    return {[`${this.#prefix}from`]: from, [`${this.#prefix}to`]: to};
  }

  #choose(from, to) {
    this.#popup.hide();
    this.#opener.focus();
    update(this.#patch(from, to), {push: true});
  }

  #fill() {
    const {from, to} = this.range;
    const choose = (start, end) => this.#choose(start, end);
    const relative = RELATIVE.map((text) =>
      option(rangeTitle(text, 'now'), '', text === from && to === 'now', () => choose(text, 'now')));
    this.#menu.replaceChildren(element('div', {}, ...relative), absoluteForm(from, to, choose));
  }
}

function absoluteForm(from, to, choose) {
  const start = field('From', toWindow(resolve(from)));
  const end = field('To', toWindow(resolve(to)));
  const note = element('p', {class: 'faint', role: 'status'}, 'Shown in UTC.');
  const apply = element('button', {type: 'submit', class: 'btn small primary'}, 'Apply');
  const form = element('form', {}, start.label, end.label, note, apply);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const [a, b] = [resolve(start.input.value), resolve(end.input.value)];
    if (a === null || b === null) note.textContent = 'Write a time as 2026-11-19 09:00, or now-2h.';
    else if (b <= a) note.textContent = 'The range ends before it starts.';
    else choose(kept(start.input.value, a), kept(end.input.value, b));
  });
  if (start.seconds !== null && end.seconds !== null) note.textContent = `Shown in UTC, ${duration(end.seconds - start.seconds)} long.`;
  return form;
}

/** Relative times stay as they were typed, so that they move with the clock. */
function kept(text, seconds) {
  return secondsBack(text) === null ? String(seconds) : text;
}

function field(title, seconds) {
  const input = element('input', {value: seconds === null ? '' : typed(seconds), spellcheck: 'false'});
  return {input, seconds, label: element('label', {}, title, element('span', {class: 'field small'}, input))};
}
