// A line that says what was done and goes away by itself.
import {byId, element} from './dom.js';

const SHOWN_MS = 5000;

/**
 * @param {string} text
 */
export function toast(text) {
  const line = element('div', {class: 'toast'}, text);
  byId('toasts').append(line);
  setTimeout(() => line.remove(), SHOWN_MS);
}
