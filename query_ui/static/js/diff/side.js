// One of the two selections: selector, range, and what it holds.
import {byId, element} from '../dom.js';
import {cores, count, fixed, percent} from '../numbers.js';
import {RangeMenu} from '../range_menu.js';
import {SelectorInput} from '../selector.js';
import {current, update} from '../state.js';
import {resolve, toWindow, WINDOW_S} from '../time.js';

export class Side {
  #name;
  #selector;
  #meta;

  /** @param {"a"|"b"} name @param {() => void} reload called when the same selector is submitted again */
  constructor(name, reload) {
    this.#name = name;
    this.range = new RangeMenu(`${name}_`);
    this.#meta = byId(`${name}-meta`);
    this.#selector = new SelectorInput((query) => {
      if (query === this.query) reload();
      else update({[`${name}_query`]: query, root: '', frame: '', focus: ''}, {push: true});
    }, () => this.range.range, `${name}-`);
  }

  /** The selector as in the URL. */
  get query() {
    return current()[`${this.#name}_query`];
  }

  focus() {
    this.#selector.focus();
  }

  /** Write the selection as it is in the URL. */
  show() {
    this.#selector.set(this.query);
    this.range.show();
  }

  /** The parameters of /diff for this side; relative times are resolved here, once. */
  get question() {
    const {from, to} = this.range.range;
    const [start, end] = [resolve(from), resolve(to)];
    const known = start !== null && end !== null && end > start;
    const [first, last] = known ? [toWindow(start), Math.max(toWindow(end), toWindow(start) + WINDOW_S)] : [from, to];
    return {[`${this.#name}_query`]: this.query, [`${this.#name}_from`]: first, [`${this.#name}_to`]: last};
  }

  /** @param {any|null} arm of the answer; null when there is none @param {string} unit "cores" or "threads" */
  describe(arm, unit) {
    this.#selector.markBad(false);
    if (!arm) {
      this.#meta.replaceChildren(element('span', {}, 'no answer'));
      return;
    }
    const share = arm.completeness.share;
    const complete = fact(share === 1 ? percent(1, 0) : percent(Math.min(share, 0.999), 1), 'complete');
    complete.title = arm.completeness.losses.map(({count: many, explanation}) => `${fixed(many)} × ${explanation}`).join('\n');
    complete.classList.toggle('warn', share < 0.95);
    this.#meta.replaceChildren(
      fact(fixed(arm.hosts), arm.hosts === 1 ? 'host' : 'hosts'), fact(cores(arm.cores), unit),
      fact(cores(arm.cores_per_host), 'per host'), fact(count(arm.captures), 'samples'), complete,
    );
  }

  /** @param {boolean} bad whether the selector was not understood */
  markBad(bad) {
    this.#selector.markBad(bad);
  }
}

function fact(value, words) {
  return element('span', {}, element('b', {}, value), ` ${words}`);
}
