// The Source page: one function, line by line.
import {ApiError, ask, isDropped, Latest} from './api.js';
import {byId, button, element, icon} from './dom.js';
import {bind, listen} from './keys.js';
import {waitFor} from './loading.js';
import {cores, percent, timeTotal} from './numbers.js';
import {attach, option} from './popup.js';
import {RangeMenu} from './range_menu.js';
import {SelectorInput} from './selector.js';
import {copyLink} from './share.js';
import {byHeat, lineRows} from './source/lines.js';
import {current, onChange, update} from './state.js';
import {toggleTheme} from './theme.js';
import {resolve, toWindow, WINDOW_S} from './time.js';

const SHORT_ID = 12;
const RELOADS = ['query', 'from', 'to', 'function', 'mapping', 'build'];

const selector = new SelectorInput((query) => (query === current().query ? load() : update({query}, {push: true})), () => ({from: current().from, to: current().to}));
const range = new RangeMenu();
const latest = new Latest();
let answer = null;
let asked = {};
let loads = 0;

/** Relative times are resolved once, so that all figures are about the same. */
function question() {
  const {query, from, to, function: name, mapping, build} = current();
  const [start, end] = [resolve(from), resolve(to)];
  const fixedRange = start === null || end === null || end <= start ? {from, to} : {from: toWindow(start), to: Math.max(toWindow(end), toWindow(start) + WINDOW_S)};
  return {query, ...fixedRange, function: name, mapping, build};
}

async function load() {
  loads += 1;
  asked = question();
  range.show();
  byId('function').textContent = current().function || 'Source';
  byId('back').href = `/?${new URLSearchParams(Object.entries({query: current().query, from: current().from, to: current().to, search: current().function}).filter(([, value]) => value))}`;
  const signal = latest.next();
  try {
    answer = await waitFor([byId('lines-part')], byId('headline'), () => latest.cancel(), ask('source', asked, signal), signal);
    selector.markBad(false);
    render();
  } catch (failure) {
    if (isDropped(failure)) return;
    if (!(failure instanceof ApiError)) throw failure;
    answer = null;
    fail(failure);
  } finally {
    if (!signal.aborted) document.body.dataset.loaded = String(loads);
  }
}

function render() {
  const {lines, own, file, notices} = answer;
  showHeadline();
  showWhere();
  showBuilds();
  const part = byId('source-notices');
  part.hidden = !notices.length;
  part.replaceChildren(...notices.map(noticeOf));
  byId('source-state').hidden = true;
  byId('lines-part').hidden = !lines.length;
  byId('hottest').disabled = !answer.hottest;
  byId('line-rows').replaceChildren(...lineRows(lines, own, seconds(), Boolean(answer.text_from)));
  if (!lines.length && !notices.length) state('Nothing is known of the lines of this function', file, []);
  showLine(Number(current().line) || answer.hottest || answer.start_line, 'center');
}

/** What averages are over. */
function seconds() {
  return answer.covered_s || answer.range.end_s - answer.range.start_s;
}

function showHeadline() {
  const {own, lines, hottest, unplaced, elsewhere} = answer;
  const time = timeTotal(own / 1e9);
  const facts = [element('span', {class: 'big'}, `${cores(own / 1e9 / seconds())} `, element('small', {}, 'cores of its own on average')), fact(time.value, `CPU-${time.unit}`)];
  const line = lines.find(({line: number}) => number === hottest);
  if (line) facts.push(fact(percent(line.value / own, 1), `on line ${hottest}`));
  if (lines.length && elsewhere) facts.push(fact(percent(elsewhere / own, 1), 'in lines of other files'));
  if (lines.some(({value}) => value) && unplaced) facts.push(fact(percent(unplaced / own, 1), 'without a line'));
  byId('headline').replaceChildren(...facts);
}

function fact(value, words) {
  return element('span', {}, element('b', {}, value), ` ${words}`);
}

function showWhere() {
  const {file, start_line: start, mapping, text_from: from} = answer;
  byId('source-bar').hidden = !file && !answer.builds.length;
  const words = [mapping && ` in ${mapping}`, from && `, text from ${from}`].filter(Boolean);
  byId('where').replaceChildren(...(file ? [element('b', {}, start ? `${file}:${start}` : file)] : []), ...words);
}

function showBuilds() {
  const {builds, build_id: id} = answer;
  byId('build-anchor').hidden = builds.length < 2;
  byId('build-title').textContent = `Build ${id.slice(0, SHORT_ID)}`;
}

function noticeOf({text, command}) {
  return element('div', {class: 'banner'}, icon('warn'), element('span', {}, text, ...(command ? [' ', element('code', {}, command)] : [])));
}

function fail(failure) {
  selector.markBad(failure.status === 400 && /^(Selector|The selector)/.test(failure.message));
  byId('headline').replaceChildren(element('span', {class: 'faint'}, 'No answer.'));
  for (const id of ['source-bar', 'source-notices', 'lines-part']) byId(id).hidden = true;
  state(failure.message.replace(/\.$/, ''), failure.hint, failure.status === 400 ? [] : [button('Try again', load, 'btn')]);
}

function state(title, text, actions) {
  byId('source-state').hidden = false;
  byId('source-state').replaceChildren(element('div', {class: 'state', role: 'status'}, element('h3', {}, title), element('p', {}, text), element('div', {class: 'row'}, ...actions)));
}

/** Mark a line and bring it into view, inside of its card: the page stays where it is. */
function showLine(number, where) {
  for (const row of byId('line-rows').querySelectorAll('tr[aria-current]')) row.removeAttribute('aria-current');
  const row = number ? document.getElementById(`L${number}`) : null;
  if (!row) return;
  row.setAttribute('aria-current', 'true');
  const part = byId('lines-part');
  const above = row.offsetTop - part.scrollTop;
  if (where === 'center' || above < 40 || above > part.clientHeight - 40) part.scrollTop = row.offsetTop - part.clientHeight / 2;
}

/** The next or previous of the lines with time, in the order of their time. */
function step(direction) {
  if (!answer) return;
  const order = byHeat(answer.lines);
  const place = order.indexOf(Number(current().line) || answer.hottest);
  const next = order[(place + direction + order.length) % order.length];
  if (next) update({line: String(next)});
}

function toHottest() {
  if (answer?.hottest) update({line: String(answer.hottest)});
  if (answer) showLine(answer.hottest, 'center');
}

function share() {
  const link = new URL(location.href);
  link.searchParams.set('from', asked.from);
  link.searchParams.set('to', asked.to);
  copyLink(link, () => update({from: String(asked.from), to: String(asked.to)}, {push: true}));
}

function show(next, changed) {
  if (changed === null || changed.has('query')) selector.set(next.query);
  if (changed === null || RELOADS.some((name) => changed.has(name))) load();
  else if (changed.has('line')) showLine(Number(next.line), 'near');
}

function startControls() {
  const builds = attach(byId('build'), byId('build-menu'), () => byId('build-menu').replaceChildren(...answer.builds.map(({build_id: id, value, lines_known: known}) =>
    option(`${id.slice(0, SHORT_ID)} · ${percent(value / (answer.own || 1), 1)}`, known ? '' : 'no debug file', id === answer.build_id, () => {
      builds.hide();
      update({build: id, line: ''}, {push: true});
    }))));
  byId('selection').addEventListener('submit', (event) => event.preventDefault());
  byId('reload').addEventListener('click', load);
  byId('share').addEventListener('click', share);
  byId('hottest').addEventListener('click', toHottest);
  byId('theme').addEventListener('click', toggleTheme);
  byId('line-rows').addEventListener('click', (event) => {
    const link = event.target.closest('a[data-line]');
    if (!link) return;
    event.preventDefault();
    update({line: link.dataset.line});
  });
  bind('h', 'Hottest line', toHottest);
  bind('n', 'Next, previous line by time', () => step(1));
  bind('p', 'Next, previous line by time', () => step(-1));
  bind('s', 'Edit selector', () => selector.focus());
  bind('r', 'Time range', () => range.open());
  bind('t', 'Theme', toggleTheme);
  listen();
}

startControls();
onChange(show);
show(current(), null);
