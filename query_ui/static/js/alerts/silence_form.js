// The form that begins a silence. It can be undone, so it happens at once, with Undo in the toast.
import {ApiError, send} from '../api.js';
import {element, onPick, press} from '../dom.js';
import {toast} from '../toast.js';
import {moment} from './words.js';

const LENGTHS = [['1h', '1 h'], ['4h', '4 h'], ['1d', '1 day'], ['7d', '1 week']];
const AUTHOR = 'fleetprof-author';

/** The name that was given last in this browser. @returns {string} */
export function knownAuthor() {
  try {
    return localStorage.getItem(AUTHOR) || '';
  } catch (refused) {
    console.debug('no storage', refused);
    return '';
  }
}

/** @param {string} author */
export function keepAuthor(author) {
  try {
    localStorage.setItem(AUTHOR, author);
  } catch (refused) {
    console.debug('author not kept', refused);
  }
}

/** A labelled text field. @param {string} title @param {string} value @param {string} [placeholder] */
export function textField(title, value, placeholder = '') {
  const input = element('input', {value, placeholder, spellcheck: 'false', required: ''});
  return {input, label: element('label', {}, title, element('span', {class: 'field small'}, input))};
}

/**
 * @param {string} matchers what is silenced, as a selector of alerts' labels; "" lets the person write it
 * @param {() => void} done called when a silence began or was undone
 * @returns {HTMLElement}
 */
export function silenceForm(matchers, done) {
  let length = LENGTHS[1][0];
  const lengths = element('div', {class: 'segments', role: 'group', 'aria-label': 'For how long'},
    ...LENGTHS.map(([value, title]) => element('button', {type: 'button', value, 'aria-pressed': String(value === length)}, title)));
  onPick(lengths, (value) => {
    length = value;
    press(lengths, length);
  });
  const what = textField('Alerts with these labels', matchers, 'service="checkout"');
  const author = textField('Your name', knownAuthor());
  const comment = textField('Why', '', 'e.g. known, fixed in the next release');
  const note = element('p', {class: 'form-note', role: 'status'}, 'Nobody is told while it lasts; judging goes on.');
  const form = element('form', {class: 'form', autocomplete: 'off'}, lengths, what.label, author.label, comment.label, note,
    element('button', {type: 'submit', class: 'btn small primary'}, 'Silence'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    keepAuthor(author.input.value);
    const body = {matchers: what.input.value, for: length, author: author.input.value, comment: comment.input.value};
    try {
      begun(await send('POST', 'silences', body), done);
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      note.textContent = `${failure.message} ${failure.hint}`;
      note.classList.add('bad');
    }
  });
  return form;
}

function begun(silence, done) {
  done();
  toast(`Silenced until ${moment(silence.ends_at)} UTC.`, {label: 'Undo', act: () => endSilence(silence.id, done)});
}

/** @param {string} id @param {() => void} done */
export async function endSilence(id, done) {
  try {
    await send('DELETE', `silences/${encodeURIComponent(id)}`);
    toast('The silence has ended.');
  } catch (failure) {
    if (!(failure instanceof ApiError)) throw failure;
    toast(`${failure.message} ${failure.hint}`);
  }
  done();
}
