// The Compare page: two selections, what changed between them, and where.
import {ApiError, ask, isDropped, Latest, urlFor} from './api.js';
import {DiffLens} from './diff/lens.js';
import {MoversTable} from './diff/movers.js';
import {compareAddress, offerLinks, releaseOffers, timeOffers} from './diff/offers.js';
import {Side} from './diff/side.js';
import {byId, button, element, onPick, press} from './dom.js';
import {FlamePanel} from './flame/panel.js';
import {bind, describe, listen} from './keys.js';
import {waitFor} from './loading.js';
import {unbroken} from './numbers.js';
import {attach, option} from './popup.js';
import {copyLink} from './share.js';
import {current, onChange, update} from './state.js';
import {toggleTheme} from './theme.js';
import {toast} from './toast.js';
import {TYPES, wordsFor} from './units.js';

const SELECTIONS = ['a_query', 'a_from', 'a_to', 'b_query', 'b_from', 'b_to'];
const RELOADS = [...SELECTIONS, 'type', 'unit'];
const FORMATS = [['pprof', 'pprof', 'types A, B and difference'], ['folded', 'Folded stacks', 'difffolded.pl, two values'], ['json', 'JSON', 'this page']];
const MOVERS = 1000;

const sides = {a: new Side('a', () => load()), b: new Side('b', () => load())};
const lens = new DiffLens(exploreAddress);
const movers = new MoversTable(pick, (patch) => update(patch));
const panel = new FlamePanel((name) => movers.select(name), lens);
const latest = new Latest();
let answer = null;
let asked = {};
let loads = 0;

function isAsked() {
  return SELECTIONS.some((name) => new URLSearchParams(location.search).has(name));
}

async function load() {
  const {type, unit} = current();
  loads += 1;
  sides.a.show();
  sides.b.show();
  const signal = latest.next();
  asked = {...sides.a.question, ...sides.b.question, type, unit, min_share: (0.5 / Math.max(byId('profile-card').clientWidth, 400)).toPrecision(2)};
  try {
    if (isAsked()) show(await waitFor([byId('result'), byId('profile-card')], byId('say'), () => latest.cancel(), ask('diff', {...asked, limit: MOVERS}, signal), signal));
    else await showOffers('What do you want to compare?', 'Choose a release, or write two selections above.', signal);
  } catch (failure) {
    if (isDropped(failure)) return;
    if (!(failure instanceof ApiError)) throw failure;
    await fail(failure, signal);
  } finally {
    if (!signal.aborted) document.body.dataset.loaded = String(loads);
  }
}

function show(found) {
  answer = found;
  const words = wordsFor(current().type);
  lens.use(found);
  sides.a.describe(found.a, words.unit);
  sides.b.describe(found.b, words.unit);
  byId('say').replaceChildren(...emphasised(unbroken(found.verdict)));
  byId('visible').textContent = unbroken(`${found.method.sentence} ${found.visible}`);
  present(true);
  movers.choose(current());
  movers.show(found);
  showGraph();
  followFocus();
}

/** The sentence with its figures in bold. */
function emphasised(text) {
  return text.split(/([+−]\d[\d.]*\s?%(?=,)|^0\.0 %|\d+ of \d+(?= function))/).filter(Boolean)
    .map((part, index) => (index % 2 && /\d/.test(part) ? element('b', {}, part) : part));
}

function showGraph() {
  const {view, width} = current();
  lens.look(view, width);
  press(byId('view'), view);
  press(byId('width'), width);
  byId('width').hidden = view !== 'diff';
  byId('flame').setAttribute('aria-label', {diff: 'Flame graph of the difference', a: 'Flame graph of A', b: 'Flame graph of B'}[view]);
  if (answer) panel.show(answer.flame, {seconds: 1, unit: '', timeWord: ''}, asked);
}

/** A link (such as an alert's) can name the function that it is about. */
function followFocus() {
  const {focus, frame} = current();
  if (!focus || frame || !answer) return;
  const mover = answer.movers.find(({name}) => name === focus);
  if (mover) pick(mover);
  else toast(`${focus} is in neither of the two selections.`);
}

function pick(mover) {
  if (panel.selectFunction(mover.name, mover.mapping)) return;
  const {view, width} = current();
  const side = view === 'diff' ? width : view;
  toast(side !== 'both' && !mover.total[side] ? `${side.toUpperCase()} does not have this function.` : 'This function is in merged frames only; zoom in or search for it.');
}

/** Show the result, or only the state in its place. */
function present(hasResult) {
  byId('result-state').hidden = hasResult;
  byId('table-part').hidden = !hasResult;
  byId('profile-card').hidden = !hasResult;
  byId('visible').hidden = !hasResult;
  byId('units').hidden = byId('of').hidden = !hasResult;
}

async function fail(failure, signal) {
  answer = null;
  for (const [name, side] of Object.entries(sides)) {
    side.describe(null, '');
    side.markBad(failure.status === 400 && (/^(Selector|The selector)/.test(failure.message) || failure.message.startsWith(`${name.toUpperCase()} has nothing`)));
  }
  await showOffers(failure.message, failure.hint, signal, failure.status !== 400);
}

async function showOffers(title, text, signal, canRetry = false) {
  answer = null;
  panel.clear();
  present(false);
  byId('say').textContent = title;
  const state = byId('result-state');
  state.replaceChildren(element('p', {class: 'muted'}, text), ...(canRetry ? [button('Try again', () => load(), 'btn')] : []));
  const offers = await loadOffers(signal);
  if (!signal.aborted) state.append(element('h2', {}, offers.title), element('div', {class: 'offers'}, ...offerLinks(offers.list)));
}

/** Releases of the last day; other comparisons where there was none. */
async function loadOffers(signal) {
  const {releases} = await ask('releases', {from: 'now-24h', limit: 50}, signal).catch((failure) => {
    if (failure instanceof ApiError) return {releases: []};
    throw failure;
  });
  const list = releaseOffers(releases);
  return {title: list.length ? 'Releases of the last 24 hours' : 'No release was seen in the last 24 hours. Other comparisons:', list: [...list, ...timeOffers()]};
}

function exploreAddress(side, name) {
  const question = sides[side].question;
  const given = {query: question[`${side}_query`], from: question[`${side}_from`], to: question[`${side}_to`], type: current().type, search: name};
  return `/?${new URLSearchParams(Object.entries(given).map(([key, value]) => [key, String(value)]))}`;
}

function swap() {
  const state = current();
  const other = {diff: 'diff', both: 'both', a: 'b', b: 'a'};
  const swapped = Object.fromEntries(SELECTIONS.map((name) => [name, state[(name[0] === 'a' ? 'b' : 'a') + name.slice(1)]]));
  update({...swapped, view: other[state.view], width: other[state.width]}, {push: true});
}

function follow(state, changed) {
  const has = (...names) => changed === null || names.some((name) => changed.has(name));
  if (has('type')) byId('type-title').textContent = wordsFor(state.type).title;
  if (has('unit')) press(byId('units'), state.unit);
  if (has('of')) press(byId('of'), state.of);
  if (has('search')) followSearch(state.search);
  if (has(...RELOADS)) {
    load();
    return;
  }
  if (has('of', 'sort', 'noise', 'search')) movers.choose(state);
  if (has('view', 'width')) showGraph();
  else if (has('root')) panel.followRoot();
  if (has('frame')) panel.followFrame();
}

function followSearch(text) {
  if (byId('search').value !== text) byId('search').value = text;
  panel.search(text);
}

function startMenus() {
  const types = attach(byId('type'), byId('type-menu'), () => byId('type-menu').replaceChildren(...TYPES.map((type) =>
    option(wordsFor(type).title, '', type === current().type, () => {
      types.hide();
      update({type, root: '', frame: ''}, {push: true});
    }))));
  const files = attach(byId('export'), byId('export-menu'), () => byId('export-menu').replaceChildren(...FORMATS.map(([format, title, note]) => {
    const link = element('a', {class: 'option', role: 'menuitem', download: '', href: urlFor('diff', {...asked, format})},
      element('span', {}, title), element('span', {class: 'faint'}, note));
    link.addEventListener('click', () => files.hide());
    return link;
  })));
  const offers = new Latest();
  attach(byId('releases'), byId('releases-menu'), async () => {
    const menu = byId('releases-menu');
    const {title, list} = await loadOffers(offers.next()).catch((failure) => {
      if (isDropped(failure)) return {title: '', list: []};
      throw failure;
    });
    menu.replaceChildren(element('div', {class: 'group'}, title), ...offerLinks(list));
    if (!menu.hidden) menu.querySelector('a')?.focus();
  });
}

function startControls() {
  startMenus();
  byId('selections').addEventListener('submit', (event) => event.preventDefault());
  byId('swap').addEventListener('click', swap);
  byId('share').addEventListener('click', share);
  byId('theme').addEventListener('click', toggleTheme);
  byId('reset').addEventListener('click', () => update({root: ''}, {push: true}));
  byId('search').addEventListener('input', (event) => update({search: event.target.value}));
  byId('search').addEventListener('keydown', (event) => {
    if (event.key === 'Enter') panel.stepMatch(event.shiftKey ? -1 : 1);
    if (event.key !== 'Escape') return;
    update({search: ''});
    event.target.blur();
  });
  onPick(byId('units'), (unit) => update({unit}));
  onPick(byId('of'), (of) => update({of}));
  onPick(byId('view'), (view) => update({view}));
  onPick(byId('width'), (width) => update({width}));
}

/** A link for others holds absolute times, so that it shows the same tomorrow. */
function share() {
  const absolute = Object.fromEntries(SELECTIONS.map((name) => [name, String(asked[name])]));
  copyLink(new URL(compareAddress({...current(), ...absolute}), location.href), () => update(absolute, {push: true}));
}

function startKeys() {
  bind('/', 'Search frames', () => byId('search').focus());
  bind('s', 'Edit selector of B, of A', () => sides.b.focus());
  bind('S', 'Edit selector of B, of A', () => sides.a.focus());
  bind('r', 'Time range of B, of A', () => sides.b.range.open());
  bind('R', 'Time range of B, of A', () => sides.a.range.open());
  bind('x', 'Swap A and B', swap);
  bind('d', 'Difference, A, B', () => update({view: {diff: 'a', a: 'b', b: 'diff'}[current().view]}));
  bind('u', 'Share or cores per host', () => update({unit: current().unit === 'share' ? 'cores_per_host' : 'share'}));
  describe(['← ↑ ↓ →'], 'Move between frames, or functions');
  describe(['Enter'], 'Zoom to frame');
  bind('Escape', 'Reset zoom, then search', () => update(current().root ? {root: ''} : {search: ''}, {push: Boolean(current().root)}));
  bind('n', 'Next, previous match', () => panel.stepMatch(1));
  bind('p', 'Next, previous match', () => panel.stepMatch(-1));
  bind('[', 'Shift both time windows', () => shiftBoth(-1));
  bind(']', 'Shift both time windows', () => shiftBoth(1));
  bind('t', 'Theme', toggleTheme);
  listen();
}

function shiftBoth(direction) {
  update({...sides.a.range.shifted(direction), ...sides.b.range.shifted(direction)}, {push: true});
}

startControls();
startKeys();
onChange(follow);
follow(current(), null);

/** What browser tests read: everything else they do as a person would. */
window.fleetprofTest = {panel, movers, answer: () => answer, question: () => asked};
