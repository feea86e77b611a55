// The lens of the Compare page: trees with two sides, coloured by what changed.
import {ask} from '../api.js';
import {button, element} from '../dom.js';
import {frameNote} from '../flame/describe.js';
import {STEPS} from '../flame/palette.js';
import {showKinds} from '../flame/path_row.js';
import {svg} from '../svg.js';
import {amount, amountsFor, change, direction, interval, spread} from './amounts.js';
import {deltaOf, diffColumns, stepOf} from './columns.js';

/** @implements {import('../flame/profile_lens.js').Lens} */
export class DiffLens {
  #arms = {a: {factor: 1, noise: 0, common: 1}, b: {factor: 1, noise: 0, common: 1}};
  #amounts = amountsFor('share');
  #movers = new Map();
  #view = 'diff';
  #width = 'both';
  #explore;

  /** @param {(side: string, name: string) => string} explore address of the Explore page for a side, searching a name */
  constructor(explore) {
    this.#explore = explore;
  }

  /**
   * Take an answer of /diff.
   * @param {any} answer
   */
  use(answer) {
    this.#arms = {a: armOf(answer.a, answer.unit, 1), b: armOf(answer.b, answer.unit, answer.method.factor ?? 1)};
    this.#amounts = amountsFor(answer.unit);
    this.#movers = new Map(answer.movers.map((mover) => [keyOf(mover.name, mover.mapping), mover]));
  }

  /** @param {"diff"|"a"|"b"} view @param {"both"|"a"|"b"} width of the view "diff" */
  look(view, width) {
    this.#view = view;
    this.#width = width;
  }

  ask = async (question, signal) => (await ask('diff', {...question, limit: 1}, signal)).flame;

  decode = (wire) => {
    const isDiff = this.#view === 'diff';
    const columns = diffColumns(wire, this.#arms, isDiff ? this.#width : this.#view);
    if (!isDiff) return columns;
    const marks = {
      step: (tree, node) => stepOf(this.#arms, tree.a[node], tree.b[node]),
      note: (tree, node) => this.#shown(tree.a[node], tree.b[node]),
    };
    return {...columns, marks};
  };

  /** The change as it is written; "" where it rounds to zero. */
  #shown(a, b) {
    const delta = deltaOf(this.#arms, a, b);
    return direction(this.#amounts, delta) ? change(this.#amounts, delta) : '';
  }

  legend = (list, tree) => {
    if (this.#view !== 'diff') {
      showKinds(list, tree);
      return;
    }
    const steps = Array.from({length: STEPS}, (_, step) => svg('rect', {class: `step-${step}`, x: step * 14, width: 13, height: 10, rx: 1.5}));
    const scale = svg('svg', {class: 'diff-scale', viewBox: `0 0 ${STEPS * 14} 10`, width: STEPS * 14, height: 10, 'aria-hidden': 'true'}, ...steps);
    list.title = 'Coloured by the change relative to the larger side, with the factor common to all functions taken out; grey is within chance.';
    list.replaceChildren(element('li', {}, 'less in B', scale, 'more in B'));
  };

  facts = (tree, node) => {
    const {a, b} = this.#values(tree, node);
    const self = this.#shown(tree.selfA[node], tree.selfB[node]);
    const rows = [['A', amount(this.#amounts, a)], ['B', amount(this.#amounts, b)], ['Change', change(this.#amounts, b - a)]];
    return self ? [...rows, ['Change of its own', self]] : rows;
  };

  #values(tree, node) {
    return {a: tree.a[node] * this.#arms.a.factor, b: tree.b[node] * this.#arms.b.factor};
  }

  details = (strip, tree, node, scale, acts) => {
    const {a, b} = this.#values(tree, node);
    const frame = tree.frame[node];
    const name = tree.frames.name[frame];
    const note = frameNote(tree, node);
    const delta = b - a;
    const who = element('div', {class: 'who'}, element('b', {title: name}, name), element('small', {title: note}, note));
    const own = deltaOf(this.#arms, tree.selfA[node], tree.selfB[node]);
    const figures = element('dl', {},
      fact('A', amount(this.#amounts, a)), fact('B', amount(this.#amounts, b)),
      fact('B against A, here', change(this.#amounts, delta), direction(this.#amounts, delta)),
      fact('Its own', change(this.#amounts, own), direction(this.#amounts, own)),
      ...this.#functionFact(name, tree.frames.mapping[frame]));
    const actions = element('div', {class: 'actions'}, button('Zoom', acts.zoom), button('Search', acts.search),
      element('a', {class: 'btn small', href: this.#explore('b', name)}, 'Explore B'), button('Copy name', acts.copy));
    strip.replaceChildren(who, figures, actions);
  };

  /** The function as a whole, with its interval: the node is only one of the places where it is called. */
  #functionFact(name, mapping) {
    const mover = this.#movers.get(keyOf(name, mapping));
    if (!mover || mover.total.low === null) return [];
    const {total} = mover;
    const made = fact('Function, everywhere', change(this.#amounts, total.delta), total.significant ? direction(this.#amounts, total.delta) : 'muted');
    made.querySelector('dd').append(' ', element('small', {title: interval(this.#amounts, total)}, spread(this.#amounts, total)));
    return [made];
  }
}

function keyOf(name, mapping) {
  return `${name}\0${mapping}`;
}

function armOf(arm, unit, common) {
  const perHost = arm.total ? arm.cores_per_host / arm.total : 0;
  return {factor: unit === 'share' ? 1 / (arm.total || 1) : perHost, noise: arm.total / (arm.captures || 1), common};
}

function fact(title, value, className = '') {
  return element('div', {}, element('dt', {}, title), element('dd', className ? {class: className} : {}, value));
}
