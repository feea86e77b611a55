// What a host's opened row says: problems, what runs there, the host and its agent.
import {compareAddress, beforeAndAfter} from '../diff/offers.js';
import {element} from '../dom.js';
import {count, fixed, percent} from '../numbers.js';
import {healthMark} from '../svg.js';
import {clock, day, duration} from '../time.js';

const MARKS = {bad: 'bad', warning: 'warning', note: 'good'};
const THIN = '\u2009';

/**
 * @param {import('./health.js').Host} host
 * @param {{start_s: number, end_s: number}} range
 * @returns {HTMLElement}
 */
export function hostDetails(host, range) {
  return element('div', {class: 'host-details'}, problems(host), services(host, range), facts(host), actions(host, range));
}

function section(title, ...content) {
  return element('section', {}, element('h3', {}, title), ...content);
}

function problems(host) {
  const lines = host.problems.map(({severity, text}) => element('li', {}, healthMark(MARKS[severity]), element('span', {}, text)));
  const hooks = host.hooks_off.filter(({is_program: isProgram}) => !isProgram)
    .map(({name, reason}) => element('li', {class: 'faint'}, `${name}: ${reason}`));
  const losses = host.losses.map(({explanation, count: many}) => element('li', {class: 'muted'}, element('b', {}, count(many)), element('span', {}, explanation)));
  const found = [section('What is wrong', element('ul', {}, ...(lines.length ? lines : [element('li', {class: 'muted'}, 'Nothing.')])))];
  if (losses.length) found.push(section('Lost in this range', element('ul', {}, ...losses)));
  if (hooks.length) found.push(section('Not offered by its kernel', element('ul', {}, ...hooks)));
  return element('div', {}, ...found);
}

function services(host, range) {
  if (!host.services.length) return section('Services', element('p', {class: 'muted'}, 'No CPU time in this range.'));
  return section('Services, cores', ...host.services.map(({service, version, cores: used}) => {
    const query = `host=${JSON.stringify(host.host)},service=${JSON.stringify(service)}`;
    const link = element('a', {href: exploreAddress(query, range)}, service || '(no service)');
    return element('div', {class: 'use'}, element('span', {}, link, ' ', element('span', {class: 'faint'}, version)), element('span', {}, fixed(used, 3)));
  }));
}

function facts(host) {
  const rows = [
    ['Kernel', [host.kernel, host.architecture].filter(Boolean).join(', ')],
    ['CPUs', host.cpus ? `${host.cpus}${host.utilisation === null ? '' : `, ${percent(host.utilisation, 1)} in use`}` : ''],
    ['Memory', host.memory_bytes ? `${fixed(host.memory_bytes / 2 ** 30, 1)}${THIN}GiB` : ''],
    ['Agent', [host.agent_version, host.backend].filter(Boolean).join(', ')],
    ['Agent started', host.started_s ? `${day(host.started_s)}, ${clock(host.started_s).slice(0, 5)} UTC` : ''],
    ['Time in its BPF programs', host.cost.bpf_measured ? '' : 'not measured: needs CAP_SYS_ADMIN'],
    ['Agent memory', `${megabytes(host.cost.rss_bytes)}, ${megabytes(host.cost.map_bytes)} in the kernel`],
    ['Clock', Math.abs(host.clock_skew_s) >= 0.05 ? `${fixed(Math.abs(host.clock_skew_s), 1)}${THIN}s ${host.clock_skew_s > 0 ? 'ahead' : 'behind'}` : 'in step'],
    ['Windows waiting', fixed(host.queue_windows)],
  ];
  return section('Host and agent', element('dl', {}, ...rows.filter(([, value]) => value)
    .map(([title, value]) => element('div', {}, element('dt', {}, title), element('dd', {}, value)))));
}

/** @param {number} bytes @returns {string} */
export function megabytes(bytes) {
  return bytes ? `${fixed(bytes / 2 ** 20)}${THIN}MB` : '–';
}

function actions(host, range) {
  const query = `host=${JSON.stringify(host.host)}`;
  return element('div', {class: 'actions'},
    element('a', {class: 'btn small', href: exploreAddress(query, range)}, 'Explore this host'),
    element('a', {class: 'btn small', href: compareAddress(beforeAndAfter(query, range.end_s - 3600, range.end_s))}, 'Compare its last hour with the hour before'));
}

function exploreAddress(query, range) {
  return `/?${new URLSearchParams({query, from: String(range.start_s), to: String(range.end_s)})}`;
}

/** "8 s", "11 min": how long ago. @param {number} seconds @returns {string} */
export function age(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole}${THIN}s`;
  if (whole < 7200) return `${Math.round(whole / 60)}${THIN}min`;
  return whole < 172800 ? `${Math.round(whole / 3600)}${THIN}h` : duration(Math.round(whole / 86400) * 86400);
}
