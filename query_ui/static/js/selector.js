// The label selector: finished matchers as tokens, an input for the next one, and live completion.
import {ask, isDropped, Latest, ApiError} from './api.js';
import {byId, element} from './dom.js';
import {join, split} from './selector_text.js';

const DEBOUNCE_MS = 60;

export class SelectorInput {
  #input;
  #field;
  #list;
  #latest = new Latest();
  #matchers = [];
  #candidates = null;
  #active = -1;
  #timer = 0;
  #submit;
  #range;

  /**
   * @param {(query: string) => void} submit called with the whole selector
   * @param {() => {from: string, to: string}} range where completion looks for labels
   * @param {string} [prefix] of the ids, where a page has several selectors
   */
  constructor(submit, range, prefix = '') {
    this.#input = byId(`${prefix}selector`);
    this.#field = byId(`${prefix}selector-field`);
    this.#list = byId(`${prefix}completion`);
    this.#submit = submit;
    this.#range = range;
    this.#input.addEventListener('input', () => this.#typed());
    this.#input.addEventListener('focus', () => this.#typed());
    this.#input.addEventListener('blur', () => this.#close());
    this.#input.addEventListener('keydown', (event) => this.#key(event));
    this.#list.addEventListener('pointerdown', (event) => this.#point(event));
    this.#field.addEventListener('click', (event) => this.#clickField(event));
  }

  /** Show this selector. @param {string} query */
  set(query) {
    const {matchers, rest} = split(query);
    this.#matchers = matchers;
    this.#input.value = rest;
    this.#showTokens();
  }

  /** Mark the field as not understood, or as fine. @param {boolean} bad */
  markBad(bad) {
    this.#field.classList.toggle('bad', bad);
    this.#input.setAttribute('aria-invalid', String(bad));
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  #showTokens() {
    this.#field.querySelectorAll('.matcher').forEach((token) => token.remove());
    this.#matchers.forEach(({label, op, value}, index) => {
      const token = element('span', {class: 'matcher', 'data-index': String(index), title: 'Click to edit'},
        element('b', {}, label), element('i', {}, op), value);
      this.#input.before(token);
    });
    this.#input.placeholder = this.#matchers.length ? 'and …' : 'service, version, host, thread …';
  }

  #clickField(event) {
    const token = event.target.closest('.matcher');
    if (token) this.#edit(Number(token.dataset.index));
    else this.#input.focus();
  }

  /** Turn a finished matcher back into text. */
  #edit(index) {
    const [matcher] = this.#matchers.splice(index, 1);
    const kept = split(this.#input.value);
    this.#matchers.push(...kept.matchers);
    this.#input.value = join([matcher]);
    this.#showTokens();
    this.#input.focus();
    this.#typed();
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#complete(), DEBOUNCE_MS);
  }

  async #complete() {
    const before = this.#matchers.length ? `${join(this.#matchers)},` : '';
    const cursor = before.length + (this.#input.selectionStart ?? this.#input.value.length);
    const signal = this.#latest.next();
    try {
      const found = await ask('complete', {query: before + this.#input.value, cursor, ...this.#range()}, signal);
      if (document.activeElement === this.#input) this.#show(found, before.length);
    } catch (failure) {
      if (isDropped(failure)) return; // for a newer question, which closing would drop as well
      if (!(failure instanceof ApiError)) throw failure;
      this.#close();
    }
  }

  #show(found, offset) {
    const typed = this.#input.value.slice(Math.max(0, found.start - offset), this.#input.selectionStart).replace(/^["'`]/, '');
    this.#candidates = {...found, offset};
    this.#active = found.candidates.length && typed ? 0 : -1;
    const titles = {label: 'Labels in this range', value: 'Values in this range', operator: 'Operators'};
    if (!found.candidates.length || !titles[found.kind]) {
      this.#close();
      return;
    }
    const options = found.candidates.map((text, index) => optionFor(text, typed, `${this.#list.id}-${index}`, index));
    this.#list.replaceChildren(element('div', {class: 'group', role: 'presentation'}, titles[found.kind]), ...options);
    this.#list.hidden = false;
    this.#input.setAttribute('aria-expanded', 'true');
    this.#mark();
  }

  #close() {
    this.#latest.cancel();
    clearTimeout(this.#timer);
    this.#candidates = null;
    this.#list.hidden = true;
    this.#input.setAttribute('aria-expanded', 'false');
    this.#input.removeAttribute('aria-activedescendant');
  }

  #mark() {
    [...this.#list.querySelectorAll('.option')].forEach((option, index) => {
      option.setAttribute('aria-selected', String(index === this.#active));
      if (index === this.#active) {
        option.scrollIntoView({block: 'nearest'});
        this.#input.setAttribute('aria-activedescendant', option.id);
      }
    });
  }

  #point(event) {
    event.preventDefault();
    const option = event.target.closest('.option');
    if (option) this.#take(Number(option.dataset.index));
  }

  /** Put a candidate into the text: a value finishes the matcher, a label waits for its value. */
  #take(index) {
    const {candidates, kind, start, end, offset} = this.#candidates;
    const value = this.#input.value;
    const text = candidates[index] + (kind === 'label' && !/^\s*[=!]/.test(value.slice(end - offset)) ? '=' : '');
    this.#input.value = value.slice(0, start - offset) + text + value.slice(end - offset);
    const cursor = start - offset + text.length;
    this.#input.setSelectionRange(cursor, cursor);
    this.#close();
    if (kind === 'value') this.#enter();
    else this.#typed();
  }

  #enter() {
    const text = join(this.#matchers, this.#input.value);
    this.#close();
    this.set(text);
    this.#submit(text);
  }

  #key(event) {
    const open = !this.#list.hidden && this.#candidates;
    const many = open ? this.#candidates.candidates.length : 0;
    if (open && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
      const step = event.key === 'ArrowDown' ? 1 : -1;
      this.#active = (this.#active + step + many + (this.#active < 0 && step < 0 ? 1 : 0)) % many;
      this.#mark();
      event.preventDefault();
    } else if (open && this.#active >= 0 && (event.key === 'Enter' || event.key === 'Tab')) {
      this.#take(this.#active);
      event.preventDefault();
    } else if (event.key === 'Enter') {
      event.preventDefault();
      this.#enter();
    } else if (event.key === 'Escape') {
      if (open) this.#close();
      else this.#input.blur();
    } else if (event.key === 'Backspace' && !this.#input.value && this.#matchers.length) {
      event.preventDefault();
      this.#edit(this.#matchers.length - 1);
    }
  }
}

function optionFor(text, typed, id, index) {
  const at = typed ? text.toLowerCase().indexOf(typed.toLowerCase()) : -1;
  const label = at < 0 ? [text] : [text.slice(0, at), element('mark', {}, text.slice(at, at + typed.length)), text.slice(at + typed.length)];
  return element('div', {class: 'option', role: 'option', id, 'data-index': String(index)},
    element('span', {}, ...label));
}
