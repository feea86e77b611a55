// The functions that changed, the largest change first, with intervals on one scale; noise is grey and last.
import {byId, element} from '../dom.js';
import {classOf, kindTitle} from '../flame/palette.js';
import {shortName} from '../flame/wire.js';
import {fixed} from '../numbers.js';
import {intervalBar} from '../svg.js';
import {amount, amountsFor, change, direction, interval, relative, roundUp, signed, spread} from './amounts.js';

const SHOWN = 400;
const NOISE_AT_FIRST = 3;
const BAR_PX = 240;

/**
 * @typedef {{a: number, b: number, delta: number, low: number|null, high: number|null, net: number, q: number|null,
 *   detectable: number|null, tested: boolean, significant: boolean}} Effect
 * @typedef {{name: string, kind: string, mapping: string, location: string, significant: boolean, self: Effect, total: Effect}} Mover
 * @typedef {{of: "self"|"total", sort: string, search: string, noise: string}} Choice  noise: which rows more are shown
 */

/** What a row is: changed in what is looked at, only in the other figure, or within noise. */
export function groupOf(mover, of) {
  if (mover[of].significant) return 'changed';
  return mover.significant ? 'other' : 'noise';
}

const VALUES = {
  name: ({name}) => name, a: ({a}) => a, b: ({b}) => b, change: ({delta}) => Math.abs(delta),
  relative: ({a, b}) => (a ? b / a - 1 : Infinity),
};

/**
 * The rows in order: what changed, what changed only in the other figure, noise; each group by the column.
 * @param {Mover[]} movers
 * @param {Choice} choice
 * @returns {{mover: Mover, group: string}[]}
 */
export function ordered(movers, {of, sort, search}) {
  const wanted = search.trim().toLowerCase();
  const column = sort.replace('-', '');
  const turn = sort.startsWith('-') ? -1 : 1;
  const value = (mover) => (column === 'name' ? mover.name : VALUES[column]?.(mover[of]) ?? 0);
  const compare = (x, y) => (x > y ? turn : x < y ? -turn : 0);
  const groups = ['changed', 'other', 'noise'];
  return movers.filter(({name}) => name.toLowerCase().includes(wanted))
    .map((mover) => ({mover, group: groupOf(mover, of)}))
    .sort((x, y) => groups.indexOf(x.group) - groups.indexOf(y.group) || compare(value(x.mover), value(y.mover)));
}

/** Which of the ordered rows are shown: noise and callers only where they are asked for, but never an empty table. */
function visible(rows, {noise, search}) {
  const all = noise.split(',');
  let noisy = 0;
  return rows.filter(({group}) => {
    if (group === 'changed' || search || all.includes(group)) return true;
    return group === 'noise' && noisy++ < NOISE_AT_FIRST;
  }).slice(0, SHOWN);
}

export class MoversTable {
  #answer = null;
  #choice = {of: 'self', sort: '-change', search: '', noise: ''};
  #selected = '';
  #body = byId('movers');

  /**
   * @param {(mover: Mover) => void} pick
   * @param {(patch: Partial<Choice>) => void} choose called when another order or more rows are wanted
   */
  constructor(pick, choose) {
    const mover = (line) => this.#answer.movers[Number(line.dataset.index)];
    this.#body.addEventListener('click', (event) => {
      const line = event.target.closest('tr[data-index]');
      if (line) pick(mover(line));
    });
    this.#body.addEventListener('keydown', (event) => {
      const line = event.target.closest('tr[data-index]');
      if (line && event.key === 'Enter') pick(mover(line));
      const next = {ArrowDown: line?.nextElementSibling, ArrowUp: line?.previousElementSibling}[event.key];
      if (!next) return;
      event.preventDefault();
      next.focus();
    });
    for (const head of this.#heads()) head.querySelector('button').addEventListener('click', () => choose({sort: this.#flipped(head.dataset.sort)}));
    for (const group of ['other', 'noise']) byId(`show-${group}`).addEventListener('click', () => choose({noise: this.#toggled(group)}));
  }

  #heads() {
    return document.querySelectorAll('#movers-table th[data-sort]');
  }

  #flipped(column) {
    const first = column === 'name' ? column : `-${column}`;
    const other = column === 'name' ? `-${column}` : column;
    return this.#choice.sort === first ? other : first;
  }

  #toggled(group) {
    const now = this.#choice.noise.split(',').filter(Boolean);
    return (now.includes(group) ? now.filter((each) => each !== group) : [...now, group]).sort().join(',');
  }

  /** @param {{unit: string, movers: Mover[], functions: number, a: any, b: any}} answer of /diff */
  show(answer) {
    this.#answer = answer;
    this.#render();
  }

  /** @param {Choice} choice */
  choose(choice) {
    this.#choice = choice;
    if (this.#answer) this.#render();
  }

  /** Mark the row of a function. @param {string} name "" for none */
  select(name) {
    this.#selected = name;
    for (const line of this.#body.rows) line.setAttribute('aria-selected', String(line.dataset.name === name));
  }

  #render() {
    const {of} = this.#choice;
    const rows = ordered(this.#answer.movers, this.#choice);
    const shown = visible(rows, this.#choice);
    const amounts = amountsFor(this.#answer.unit);
    const max = scaleOf(shown, of);
    this.#body.replaceChildren(...shown.map((row) => this.#line(row, amounts, max)));
    this.#showHeads(amounts, max);
    this.#showFoot(rows, shown.length);
  }

  #line({mover, group}, amounts, max) {
    const {of} = this.#choice;
    const effect = mover[of];
    const other = mover[of === 'self' ? 'total' : 'self'];
    const toward = group === 'changed' ? towards(amounts, effect) : '';
    const cell = (className, ...content) => element('td', {class: className}, ...content);
    const bar = intervalBar({
      low: effect.low, high: effect.high, middle: effect.delta, zone: effect.detectable, max, direction: toward, width: BAR_PX,
      label: `${change(amounts, effect.delta)}, ${interval(amounts, effect)}${effect.detectable === null ? '' : `; smallest visible change ${amount(amounts, effect.detectable)}`}`,
    });
    const strong = group === 'changed' ? 'strong' : '';
    const line = element('tr', {class: group, tabindex: '0', 'data-name': mover.name, 'data-index': String(this.#answer.movers.indexOf(mover)), 'aria-selected': String(mover.name === this.#selected)},
      cell('', functionCell(mover)), cell('num muted wide', plain(amounts, effect.a)), cell('num wide', plain(amounts, effect.b)),
      cell(`num ${strong} ${toward}`, change(amounts, effect.delta)), cell('bar wide', bar), cell('num', relative(effect.a, effect.b)),
      cell('num wide', this.#inOtherUnit(effect)), cell('num widest', this.#otherEffect(amounts, other)), cell('wide nowrap', reading(group, effect, amounts, of)));
    line.title = [mover.name, kindTitle(mover.kind), mover.location, mover.mapping, `${interval(amounts, effect)}${effect.q === null ? '' : `, q = ${effect.q.toPrecision(2)}`}`].filter(Boolean).join('\n');
    return line;
  }

  /** The change in cores per host where shares are compared, and the other way round. */
  #inOtherUnit({a, b}) {
    const {unit, a: armA, b: armB} = this.#answer;
    if (unit === 'share') return signed(b * armB.cores_per_host - a * armA.cores_per_host, 4);
    return change(amountsFor('share'), b / (armB.cores_per_host || 1) - a / (armA.cores_per_host || 1));
  }

  #otherEffect(amounts, effect) {
    if (!effect.tested || effect.low === null) return element('span', {class: 'faint'}, '–');
    const toward = effect.significant ? direction(amounts, effect.delta) : 'faint';
    return element('span', {class: toward, title: interval(amounts, effect)}, change(amounts, effect.delta), element('small', {class: 'faint'}, ` ${spread(amounts, effect)}`));
  }

  #showHeads(amounts, max) {
    const {of, sort} = this.#choice;
    const column = sort.replace('-', '');
    for (const head of this.#heads()) {
      if (head.dataset.sort === column) head.setAttribute('aria-sort', sort.startsWith('-') ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
    const edge = fixed(max * amounts.factor, max * amounts.factor < 0.1 ? 3 : max * amounts.factor < 1 ? 2 : 0);
    byId('scale').replaceChildren(element('span', {}, `−${edge} ${amounts.unit}`), element('span', {}, '0'), element('span', {}, `+${edge} ${amounts.unit}`));
    const unit = amounts.name === 'share' ? '' : `, ${amounts.unit}`;
    for (const side of ['a', 'b']) byId(`${side}-head`).textContent = side.toUpperCase() + unit;
    byId('other-head').textContent = of === 'self' ? 'Total' : 'Self';
    byId('unit-head').textContent = this.#answer.unit === 'share' ? 'Cores per host' : 'Share';
  }

  #showFoot(rows, shown) {
    const count = (group) => rows.filter((row) => row.group === group).length;
    const open = this.#choice.noise.split(',');
    const {functions, movers} = this.#answer;
    const unknown = functions - movers.length;
    const others = this.#choice.of === 'self' ? 'that changed only in what they call' : 'that changed only in themselves';
    button('show-other', count('other'), open.includes('other'), `${fixed(count('other'))} ${others}`);
    button('show-noise', count('noise') > NOISE_AT_FIRST ? 1 : 0, open.includes('noise'), `${fixed(count('noise') + unknown)} within noise`);
    const note = byId('movers-note');
    note.textContent = !rows.length ? 'No function has this in its name.' : unknown && shown >= SHOWN ? `The first ${fixed(SHOWN)} of ${fixed(functions)} functions; search to see others.` : '';
  }
}

function button(id, rows, isOpen, words) {
  const made = byId(id);
  made.hidden = !rows;
  made.setAttribute('aria-pressed', String(isOpen));
  made.textContent = `${isOpen ? 'Hide' : 'Show'} ${words}`;
}

/** The end of the common scale: everything that changed fits; noise is cut where it is wider. */
function scaleOf(rows, of) {
  const changed = rows.filter(({group}) => group === 'changed');
  const extents = (changed.length ? changed : rows).map(({mover}) => mover[of])
    .flatMap(({low, high, delta}) => [low ?? delta, high ?? delta]).map(Math.abs);
  return roundUp(Math.max(0, ...extents));
}

/** An amount in a column whose head names the unit. */
function plain(amounts, value) {
  return amounts.name === 'share' ? amount(amounts, value) : fixed(value, amounts.decimals);
}

function functionCell({name, kind, location, mapping}) {
  return element('div', {class: 'function'}, element('i', {class: `kind ${classOf(kind)}`}),
    element('b', {}, shortName(name, kind)), element('small', {}, location || mapping));
}

/** The direction of a change. Where the common factor alone turned its sign, it has none. */
function towards(amounts, {delta, net}) {
  return delta * net >= 0 ? direction(amounts, delta) : '';
}

function reading(group, effect, amounts, of) {
  const {a, b, net, tested} = effect;
  if (group === 'noise') return element('span', {class: 'faint'}, tested ? 'Within noise' : 'Too few samples');
  if (group === 'other') return element('span', {class: 'badge'}, of === 'self' ? 'In what it calls' : 'Only itself');
  const toward = towards(amounts, effect) || (net > 0 ? 'more' : 'less');
  const word = !a ? 'New' : !b ? 'Gone' : toward === 'more' ? 'More' : 'Less';
  return element('span', {class: `badge ${toward}`}, word);
}
