// What the frame under the pointer is.
import {element} from '../dom.js';

const DISTANCE = 14;
const MARGIN = 12;

export class Tooltip {
  #box = element('div', {class: 'tooltip', role: 'tooltip'});

  constructor() {
    this.hide();
    document.body.append(this.#box);
  }

  hide() {
    this.#box.hidden = true;
  }

  /**
   * @param {{name: string, note: string, facts: [string, string][]}} content
   * @param {{clientX: number, clientY: number}} at
   */
  show({name, note, facts}, at) {
    const lines = facts.map(([title, value]) =>
      element('div', {class: 'pair'}, element('span', {}, title), element('span', {}, value)));
    this.#box.replaceChildren(element('b', {}, name), element('span', {class: 'faint'}, note), ...lines);
    this.#box.hidden = false;
    const {offsetWidth, offsetHeight} = this.#box;
    const left = Math.min(at.clientX + DISTANCE, innerWidth - offsetWidth - MARGIN);
    const below = at.clientY + DISTANCE + 4;
    const top = below + offsetHeight + MARGIN > innerHeight ? at.clientY - offsetHeight - DISTANCE : below;
    this.#box.style.left = `${Math.max(left, MARGIN)}px`;
    this.#box.style.top = `${Math.max(top, MARGIN)}px`;
  }
}
