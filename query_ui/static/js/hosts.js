// The Hosts page: who reports, what runs there, what it costs, and what is wrong.
import {ApiError, ask, isDropped, Latest} from './api.js';
import {byId, button, element, onPick, press} from './dom.js';
import {download, toCsv} from './hosts/csv.js';
import {age, hostDetails, megabytes} from './hosts/details.js';
import {chosen, commonVersion, completenessOf, shortProblem, stateOf} from './hosts/health.js';
import {sums} from './hosts/sums.js';
import {bind, describe, listen} from './keys.js';
import {waitFor} from './loading.js';
import {fixed, percent} from './numbers.js';
import {RangeMenu} from './range_menu.js';
import {current, onChange, update} from './state.js';
import {cellStrip, healthMark, meter} from './svg.js';
import {toggleTheme} from './theme.js';
import {now} from './time.js';

const A_PAGE = 50;
const BUDGET = 0.01;
const NEAR = 0.0085;
const COLUMNS = 9;

const range = new RangeMenu();
const latest = new Latest();
let answer = null;
let loads = 0;

async function load() {
  loads += 1;
  range.show();
  const {from, to} = current();
  const signal = latest.next();
  try {
    answer = await waitFor([byId('inventory')], byId('sums'), () => latest.cancel(), ask('hosts', {from, to}, signal), signal);
    byId('sums').replaceChildren(...sums(answer));
    render();
  } catch (failure) {
    if (isDropped(failure)) return;
    if (!(failure instanceof ApiError)) throw failure;
    answer = null;
    byId('sums').replaceChildren(element('p', {class: 'slow-slot'}, 'No answer.'));
    state(failure.message, failure.hint, failure.status === 400 ? [] : [button('Try again', load, 'btn')]);
  } finally {
    if (!signal.aborted) document.body.dataset.loaded = String(loads);
  }
}

function render() {
  if (!answer) return;
  const {health, sort} = current();
  const rows = chosen(answer.hosts, current());
  const pages = Math.max(1, Math.ceil(rows.length / A_PAGE));
  const page = Math.min(Math.max(1, Number(current().page) || 1), pages);
  countHealth();
  press(byId('health'), health);
  markSort(sort);
  if (!rows.length) {
    showNone();
    return;
  }
  byId('inventory').hidden = false;
  byId('hosts-state').hidden = true;
  byId('hosts-part').hidden = false;
  const common = commonVersion(answer.hosts);
  const shown = rows.slice((page - 1) * A_PAGE, page * A_PAGE);
  byId('hosts').replaceChildren(...shown.flatMap((host) => lines(host, common)));
  byId('page-title').textContent = `${fixed((page - 1) * A_PAGE + 1)}–${fixed((page - 1) * A_PAGE + shown.length)} of ${fixed(rows.length)}`;
  byId('previous').disabled = page <= 1;
  byId('next').disabled = page >= pages;
}

function showNone() {
  if (!answer.hosts.length) state('No host has reported', 'Start an agent: fleetprof up on this host, or fleetprof-agent on another; see deploy/README.md.', []);
  else if (current().search) state(`No host matches "${current().search}"`, '', [button('Clear filter', () => update({search: ''}), 'btn')]);
  else state('Every host is well', 'No host is silent or needs attention.', [button('All hosts', () => update({health: ''}), 'btn')]);
}

function state(title, text, actions) {
  byId('inventory').hidden = false;
  byId('hosts-part').hidden = true;
  byId('hosts-state').hidden = false;
  byId('page-title').textContent = '';
  byId('hosts-state').replaceChildren(element('div', {class: 'state', role: 'status'}, element('h3', {}, title), element('p', {}, text), element('div', {class: 'row'}, ...actions)));
}

function countHealth() {
  const counts = {'': answer.hosts.length, attention: answer.hosts.filter((host) => stateOf(host) !== 'good').length, silent: answer.silent};
  const words = {'': 'All', attention: 'Needs attention', silent: 'Silent'};
  for (const option of byId('health').querySelectorAll('button')) option.textContent = `${words[option.value]} ${fixed(counts[option.value])}`;
}

function markSort(sort) {
  for (const head of document.querySelectorAll('#hosts-table th[data-sort]')) {
    if (head.dataset.sort === sort.replace('-', '')) head.setAttribute('aria-sort', sort.startsWith('-') ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
}

/** The row of a host, and the one below that tells all when it is open. */
function lines(host, common) {
  const isOpen = current().host === host.host;
  const row = rowOf(host, common);
  row.setAttribute('aria-expanded', String(isOpen));
  if (!isOpen) return [row];
  row.className = 'opened';
  return [row, element('tr', {class: 'more-of'}, element('td', {colspan: String(COLUMNS)}, hostDetails(host, answer.range)))];
}

function rowOf(host, common) {
  const condition = stateOf(host);
  const quiet = condition === 'good' ? 'muted' : '';
  const cell = (className, ...content) => element('td', {class: className}, ...content);
  const problem = element('div', {class: 'problem', title: host.problems.map(({text}) => text).join('\n')}, healthMark(condition), element('span', {}, shortProblem(host)));
  const old = host.agent_version && host.agent_version !== common ? [element('span', {class: 'badge', title: `Most agents are ${common}.`}, 'other')] : [];
  const names = [...new Set(host.services.map(({service}) => service || '(no service)'))];
  return element('tr', {tabindex: '0', 'data-host': host.host},
    cell('', problem), cell('name', host.host), cell('services wide muted', names.join(', ') || '–'),
    cell('wide nowrap muted', host.agent_version || '–', ...old), cell('num', fixed(host.cores, 2)), cell('num', costCell(host)),
    cell('num wide muted', megabytes(host.cost.rss_bytes + host.cost.map_bytes)), cell('wide', completeCell(host)),
    cell(`num wide ${quiet}`, age(now() - host.last_seen_s)));
}

function costCell({cost: {share, bpf_measured: whole}}) {
  if (share === null) return element('span', {class: 'faint'}, 'no data');
  const title = whole ? '' : 'At least: the time in its BPF programs is not measured.';
  return element('span', {class: 'cost', ...(title && {title})}, `${whole ? '' : '≥ '}${percent(share)}`, meter(share, 1.5 * BUDGET, BUDGET, share > BUDGET ? 'over' : share > NEAR ? 'near' : ''));
}

function completeCell(host) {
  const mean = completenessOf(host);
  const words = mean === null ? 'no data' : percent(mean === 1 ? 1 : Math.min(mean, 0.999), 1);
  return element('div', {class: `complete ${mean !== null && mean < 0.99 ? '' : 'muted'}`},
    cellStrip(host.completeness, `Completeness by hour over 24 hours, average ${words}`), element('span', {}, words));
}

function toggle(name) {
  update({host: current().host === name ? '' : name});
  byId('hosts').querySelector(`tr[data-host="${CSS.escape(name)}"]`)?.focus({preventScroll: true});
}

function rowKey(event) {
  const line = event.target.closest('tr[data-host]');
  if (!line || event.target !== line) return;
  if (event.key === 'Enter') toggle(line.dataset.host);
  const rows = [...byId('hosts').querySelectorAll('tr[data-host]')];
  const next = {ArrowDown: 1, ArrowUp: -1}[event.key];
  const target = next && rows[rows.indexOf(line) + next];
  if (!target) return;
  event.preventDefault();
  target.focus();
}

function turn(step) {
  update({page: String((Number(current().page) || 1) + step)}, {push: true});
}

function startControls() {
  byId('selection').addEventListener('submit', (event) => event.preventDefault());
  byId('search').addEventListener('input', (event) => update({search: event.target.value, page: '1'}));
  byId('search').addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    update({search: ''});
    event.target.blur();
  });
  onPick(byId('health'), (health) => update({health, page: '1'}));
  for (const head of document.querySelectorAll('#hosts-table th[data-sort]')) {
    head.querySelector('button').addEventListener('click', () => update({sort: flipped(head.dataset.sort), page: '1'}));
  }
  byId('hosts').addEventListener('click', (event) => {
    const line = event.target.closest('tr[data-host]');
    if (line) toggle(line.dataset.host);
  });
  byId('hosts').addEventListener('keydown', rowKey);
  byId('previous').addEventListener('click', () => turn(-1));
  byId('next').addEventListener('click', () => turn(1));
  byId('reload').addEventListener('click', load);
  byId('csv').addEventListener('click', () => answer && download('hosts.csv', toCsv(chosen(answer.hosts, current()))));
  byId('theme').addEventListener('click', toggleTheme);
}

function flipped(column) {
  const rising = ['health', 'host', 'version', 'complete'].includes(column);
  const first = rising ? column : `-${column}`;
  return current().sort === first ? (rising ? `-${column}` : column) : first;
}

function startKeys() {
  bind('/', 'Filter hosts', () => byId('search').focus());
  bind('r', 'Time range', () => range.open());
  bind('Escape', 'Close the host, then clear the filter', () => update(current().host ? {host: ''} : {search: ''}));
  describe(['↑ ↓'], 'Move between hosts');
  describe(['Enter'], 'Open or close a host');
  bind('t', 'Theme', toggleTheme);
  listen();
}

function follow(given, changed) {
  if (byId('search').value !== given.search) byId('search').value = given.search;
  if (changed === null || changed.has('from') || changed.has('to')) load();
  else render();
}

startControls();
startKeys();
onChange(follow);
follow(current(), null);
