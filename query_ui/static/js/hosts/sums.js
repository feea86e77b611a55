// The four facts above the hosts: who reports, how complete, at what cost, how busy.
import {element} from '../dom.js';
import {cores, count, fixed, percent} from '../numbers.js';
import {completenessOf, quantile} from './health.js';

const BUDGET = '1\u2009%';

/**
 * @param {{reporting: number, silent: number, hosts: import('./health.js').Host[]}} answer
 * @returns {HTMLElement[]}
 */
export function sums({reporting, silent, hosts}) {
  return [
    fact('Reporting', fixed(reporting), `of ${hosts.length} host${hosts.length === 1 ? '' : 's'}`,
      silent ? `${fixed(silent)} silent for more than 90 s` : 'all were heard within 90 s'),
    completeness(hosts), cost(hosts), use(hosts),
  ];
}

function completeness(hosts) {
  const known = hosts.map(completenessOf).filter((share) => share !== null);
  const mean = known.length ? known.reduce((sum, share) => sum + share, 0) / known.length : null;
  const losses = new Map();
  for (const {losses: each} of hosts) for (const {reason, count: many} of each) losses.set(reason, (losses.get(reason) || 0) + many);
  const largest = [...losses].sort((a, b) => b[1] - a[1]).slice(0, 2).map(([reason, many]) => `${count(many)} × ${reason.replaceAll('_', ' ')}`);
  return fact('Completeness', mean === null ? '–' : percent(mean === 1 ? 1 : Math.min(mean, 0.999), 1), '', largest.length ? `lost: ${largest.join(', ')}` : 'no losses were counted');
}

function cost(hosts) {
  const shares = hosts.map(({cost: {share}}) => share).filter((share) => share !== null);
  const median = quantile(shares, 0.5);
  if (median === null) return fact('Profiler cost', '–', '', `no data, budget ${BUDGET}`);
  return fact('Profiler cost', percent(median), 'of host CPU, median', `${percent(quantile(shares, 0.99))} at the 99th percentile, budget ${BUDGET}`);
}

function use(hosts) {
  const used = hosts.reduce((sum, host) => sum + host.cores, 0);
  const cpus = hosts.reduce((sum, host) => sum + host.cpus, 0);
  const services = new Set(hosts.flatMap((host) => host.services.map(({service}) => service)));
  const versions = new Set(hosts.flatMap((host) => host.services.map(({service, version}) => `${service}\0${version}`)));
  const words = `${fixed(services.size)} service${services.size === 1 ? '' : 's'} in ${fixed(versions.size)} version${versions.size === 1 ? '' : 's'}`;
  return fact('CPU in use', cores(used), `of ${fixed(cpus)} CPUs`, words);
}

function fact(title, value, unit, note) {
  return element('div', {}, element('dl', {}, element('dt', {}, title),
    element('dd', {class: 'figure'}, `${value} `, element('small', {}, unit)), element('dd', {class: 'note'}, note)));
}
