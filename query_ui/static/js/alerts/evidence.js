// What an alert knows of its cause: figures, callers, where the cost went, why it is this one.
import {amount, amountsFor, change, direction, relative, signed} from '../diff/amounts.js';
import {element} from '../dom.js';
import {count, fixed, percent} from '../numbers.js';
import {svg} from '../svg.js';

const SMALLEST_Q = 1e-9;

function fact(title, value, note) {
  return element('div', {}, element('dt', {}, title), element('dd', {}, `${value} `, element('small', {}, note)));
}

/** The figures below the effect of a release. @param {any} evidence @returns {HTMLElement[]} */
export function releaseFacts(evidence) {
  const {unit, before, after, interval, q, concurrent, a, b, cpu_per_host: cpu} = evidence;
  const amounts = amountsFor(unit);
  const half = interval && before ? `± ${fixed(((interval[1] - interval[0]) / 2 / before) * 100)}` : '';
  const facts = [
    fact('Relative', relative(before, after), half),
    fact('Before and after', amount(amounts, before), `→ ${amount(amounts, after)}`),
    fact('q value', q < SMALLEST_Q ? '< 10⁻⁹' : q.toPrecision(2), ''),
    fact('Design', concurrent ? 'Side by side' : 'Before and after', `${a.hosts} and ${b.hosts} hosts`),
    fact('Evidence', count(a.samples + b.samples), `samples, ${percent(Math.min(a.completeness, b.completeness), 1)} complete`),
  ];
  if (cpu) facts.push(fact('CPU per host', cpu.before ? `${signed((cpu.delta / cpu.before) * 100, 1)} %` : '–', `${fixed(cpu.before, 3)} → ${fixed(cpu.after, 3)} cores`));
  return facts;
}

/** The figures of a threshold. @param {any} evidence @returns {HTMLElement[]} */
export function thresholdFacts({unit, bounds, range, hosts, samples}) {
  const shown = (value) => (unit === 'cores' ? `${fixed(value, 2)} cores` : percent(value));
  const found = Object.entries(bounds).filter(([, bound]) => bound !== null).map(([name, bound]) => fact('Bound', `${name} ${shown(bound)}`, ''));
  return [...found, fact('Judged over', `${fixed((range.end_s - range.start_s) / 60)} min`, ''), fact('Hosts', fixed(hosts), ''), fact('Evidence', count(samples), 'samples')];
}

/**
 * Rows of callers before and after, the largest growth first.
 * @param {any} callers of the evidence: {before, after} or a list
 * @returns {{head: string[], rows: HTMLElement[]}}
 */
export function callerRows(callers) {
  const amounts = amountsFor('share');
  if (Array.isArray(callers)) {
    return {head: ['Caller', 'Share'], rows: callers.map(({function: name, share}) => row(name, [percent(share), '']))};
  }
  const shares = new Map();
  for (const side of ['before', 'after']) {
    for (const {function: name, share} of callers[side]) shares.set(name, {before: 0, after: 0, ...shares.get(name), [side]: share});
  }
  const rows = [...shares].map(([name, {before, after}]) => ({name, before, after, delta: after - before})).sort((x, y) => Math.abs(y.delta) - Math.abs(x.delta));
  return {
    head: ['Caller', 'Before', 'After', 'Change'],
    rows: rows.map(({name, before, after, delta}) => row(name, [amount(amounts, before), 'muted'], [amount(amounts, after), ''], [change(amounts, delta), direction(amounts, delta) || 'faint'])),
  };
}

function row(name, ...cells) {
  return element('tr', {}, element('td', {}, element('div', {class: 'function', title: name}, element('b', {}, name))),
    ...cells.map(([text, className]) => element('td', {class: `num ${className}`}, text)));
}

/** What the growth is made of. @param {any} evidence @param {string} name @returns {HTMLElement[]} */
export function ledger(evidence, name) {
  const {unit, delta, net, moved_from: from, grown_callers: callers} = evidence;
  const amounts = amountsFor(unit);
  const line = (title, value, className = '') => element('div', {class: className}, element('span', {title}, title), element('span', {class: direction(amounts, value)}, change(amounts, value)));
  const words = from.length ? `Part of it moved here from ${from.join(', ')}; the rest is extra work.`
    : unit === 'share' ? 'With the factor common to all functions taken out: one function’s growth shrinks the shares of all others. No decrease matches it, so this is extra work, not moved work.'
      : 'CPU per host as a whole; no single function explains most of it.';
  const grown = callers.length ? [element('p', {class: 'hint'}, `Grew with it: ${callers.slice(0, 6).join(', ')}${callers.length > 6 ? ` and ${callers.length - 6} more` : ''}.`)] : [];
  return [line(name || 'CPU per host', delta), line('Net', net, 'sum'), element('p', {class: 'hint'}, words), ...grown];
}

/** From everything that was tested to this alert. @param {any} funnel @returns {HTMLElement[]} */
export function funnelItems(funnel) {
  const steps = [
    ['Functions compared', funnel.functions], ['Tests made, own and total', funnel.tested], ['Beyond noise and the smallest effect', funnel.passed],
    ['Causes, callers folded in', funnel.causes], ['Not explained by moved cost', funnel.causes - funnel.moved], ['Still there at the end: alerts', funnel.alerts],
  ];
  const most = Math.log10(Math.max(...steps.map(([, many]) => many)) + 1);
  return steps.map(([title, many]) => element('li', {}, element('span', {}, title), element('b', {}, fixed(many)),
    svg('svg', {viewBox: '0 0 100 4', preserveAspectRatio: 'none', 'aria-hidden': 'true'}, svg('rect', {class: 'track', width: 100, height: 4}),
      svg('rect', {class: 'value', width: (Math.log10(many + 1) / most) * 100, height: 4}))));
}
