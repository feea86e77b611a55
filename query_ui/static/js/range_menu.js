// The time range: a list of relative ranges, two fields for an absolute one, and the buttons that shift it.
import {byId, element} from './dom.js';
import {attach, option} from './popup.js';
import {current, update} from './state.js';
import {duration, rangeTitle, RELATIVE, resolve, secondsBack, shift, toWindow, typed} from './time.js';

let popup;

/** Connect the range control with the URL. */
export function startRangeMenu() {
  popup = attach(byId('range'), byId('range-menu'), fill);
  byId('earlier').addEventListener('click', () => shiftWindow(-1));
  byId('later').addEventListener('click', () => shiftWindow(1));
}

/** Open the menu. */
export function openRangeMenu() {
  popup.show();
}

/** Write the range's title on its button. */
export function showRange() {
  const {from, to} = current();
  byId('range-title').replaceChildren(rangeTitle(from, to), ...(secondsBack(from) ? [] : [element('span', {class: 'faint narrow-hide'}, ' UTC')]));
}

/** Move the window by its own length. @param {1|-1} direction */
export function shiftWindow(direction) {
  const [start, end] = [current().from, current().to].map((text) => toWindow(resolve(text)));
  if (start !== null && end !== null && end > start) update(shift(start, end, direction), {push: true});
}

function choose(from, to) {
  popup.hide();
  byId('range').focus();
  update({from, to}, {push: true});
}

function fill() {
  const {from, to} = current();
  const relative = RELATIVE.map((text) =>
    option(rangeTitle(text, 'now'), '', text === from && to === 'now', () => choose(text, 'now')));
  byId('range-menu').replaceChildren(element('div', {}, ...relative), absoluteForm(from, to));
}

function absoluteForm(from, to) {
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
