// The answer first: one line of figures above everything else.
import {element} from './dom.js';
import {cores, count, fixed, percent, timeTotal} from './numbers.js';
import {wordsFor} from './units.js';

/**
 * @param {HTMLElement} line
 * @param {{seconds: number, average: number, share: number, hosts: number, hosts_total: number, captures: number}} summary
 * @param {string} type
 */
export function showHeadline(line, summary, type) {
  const words = wordsFor(type);
  const time = timeTotal(summary.seconds);
  const big = element('span', {class: 'big'}, `${cores(summary.average)} `, element('small', {}, words.average));
  line.replaceChildren(
    big,
    fact(time.value, `${words.timeWord}${time.unit}`),
    fact(percent(summary.share, 1), words.what),
    fact(fixed(summary.hosts), `of ${fixed(summary.hosts_total)} host${summary.hosts_total === 1 ? '' : 's'}`),
    fact(count(summary.captures), 'samples'),
  );
}

function fact(value, words) {
  return element('span', {class: 'fact'}, element('b', {}, value), ` ${words}`);
}
