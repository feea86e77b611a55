// A line that says what was done and goes away by itself.
import {button, byId, element} from './dom.js';

const SHOWN_MS = 5000;

/**
 * @param {string} text
 * @param {{label: string, act: () => void}} [offer] e.g. to undo it
 */
export function toast(text, offer) {
  const line = element('div', {class: 'toast'}, text);
  if (offer) {
    line.append(button(offer.label, () => {
      line.remove();
      offer.act();
    }, 'link'));
  }
  byId('toasts').append(line);
  setTimeout(() => line.remove(), SHOWN_MS);
}
