// Menus and small dialogs that open under a button.
import {element} from './dom.js';

let open = null;

/**
 * Connect a button with its popup: click toggles, Escape and a click elsewhere close, arrows move inside.
 * @param {HTMLElement} opener
 * @param {HTMLElement} popup
 * @param {() => void} [fill] called before it opens
 * @returns {{show: () => void, hide: () => void}}
 */
export function attach(opener, popup, fill) {
  const self = {
    show() {
      if (open && open !== self) open.hide();
      fill?.();
      popup.hidden = false;
      opener.setAttribute('aria-expanded', 'true');
      open = self;
      (popup.querySelector('[aria-checked="true"]') || popup.querySelector('button, input, a'))?.focus();
    },
    hide() {
      popup.hidden = true;
      opener.setAttribute('aria-expanded', 'false');
      if (open === self) open = null;
    },
    holds: (node) => popup.contains(node) || opener.contains(node),
  };
  opener.addEventListener('click', () => (popup.hidden ? self.show() : self.hide()));
  popup.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      event.stopPropagation();
      self.hide();
      opener.focus();
    }
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') step(popup, event);
  });
  return self;
}

function step(popup, event) {
  const stops = [...popup.querySelectorAll('.option')];
  const at = stops.indexOf(document.activeElement);
  const next = stops[at + (event.key === 'ArrowDown' ? 1 : -1)];
  if (at >= 0 && next) {
    event.preventDefault();
    next.focus();
  }
}

document.addEventListener('pointerdown', (event) => {
  if (open && !open.holds(event.target)) open.hide();
});

/**
 * An option of a menu that can be the chosen one.
 * @param {string} label
 * @param {string} note shown faint at the right
 * @param {boolean} chosen
 * @param {() => void} act
 * @returns {HTMLElement}
 */
export function option(label, note, chosen, act) {
  const made = element('button', {type: 'button', class: 'option', role: 'menuitemradio', 'aria-checked': String(chosen)},
    element('span', {}, label), element('span', {class: 'faint'}, note));
  made.addEventListener('click', act);
  return made;
}
