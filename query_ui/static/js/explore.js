// The Explore page: connects its parts with the URL and with the server.
import {ask, ApiError, isDropped, Latest} from './api.js';
import {showCompleteness, startCompleteness} from './completeness.js';
import {alertMarks, releaseMarks} from './chart_marks.js';
import {beforeAndAfter, compareAddress} from './diff/offers.js';
import {byId, element, lineSample, onPick, press} from './dom.js';
import {startExport} from './export_menu.js';
import {FlamePanel} from './flame/panel.js';
import {showHeadline} from './headline.js';
import {bind, describe, listen} from './keys.js';
import {waitFor} from './loading.js';
import {attach, option} from './popup.js';
import {RangeMenu} from './range_menu.js';
import {SelectorInput} from './selector.js';
import {SeriesChart} from './series_chart.js';
import {copyLink} from './share.js';
import {sourceAddress} from './source/address.js';
import {current, onChange, update} from './state.js';
import {showEmpty, showFailure, showProfile} from './states.js';
import {toggleTheme} from './theme.js';
import {resolve, toWindow, WINDOW_S} from './time.js';
import {toast} from './toast.js';
import {TopTable} from './top_table.js';
import {TYPES, wordsFor} from './units.js';

const LOOK_AGAIN_MS = 2000;
const RELOADS = ['query', 'type', 'from', 'to'];

const selector = new SelectorInput((query) => submit(query), () => ({from: current().from, to: current().to}));
const chart = new SeriesChart(byId('chart'), (from, to) => update({from: String(from), to: String(to)}, {push: true}),
  (from, to) => compareWithBefore(from, to, ''));
const top = new TopTable(pickRow, (sort) => update({sort}));
const range = new RangeMenu();
const panel = new FlamePanel((name) => top.select(name));
const profileQuestion = new Latest();
const seriesQuestion = new Latest();
let asked = {};
let lookAgain = 0;
let loads = 0;

/** The parameters that choose the data; relative times are resolved once, so that all answers are about the same. */
function question() {
  const {query, type, from, to} = current();
  const start = resolve(from);
  const end = resolve(to);
  if (start === null || end === null || end <= start) return {query, type, from, to};
  return {query, type, from: toWindow(start), to: Math.max(toWindow(end), toWindow(start) + WINDOW_S)};
}

async function load() {
  clearTimeout(lookAgain);
  loads += 1;
  asked = question();
  range.show();
  const series = loadSeries();
  const signal = profileQuestion.next();
  const dimmed = [byId('headline'), byId('split'), byId('details')];
  try {
    const answers = Promise.all([
      ask('profile', {...asked, min_share: minShare()}, signal), ask('top', {...asked, limit: 1000}, signal),
      ask('summary', asked, signal), series,
    ]);
    const [profile, tops, summary, lines] = await waitFor(dimmed, byId('headline'), () => profileQuestion.cancel(), answers, signal);
    showAnswers(profile, tops, summary, lines);
  } catch (failure) {
    if (isDropped(failure)) return;
    if (!(failure instanceof ApiError)) throw failure;
    fail(failure);
  } finally {
    if (!signal.aborted) document.body.dataset.loaded = String(loads);
  }
}

/** Frames below half a pixel are merged by the server. */
function minShare() {
  return (0.5 / Math.max(byId('profile-card').clientWidth, 400)).toPrecision(2);
}

function showAnswers(profile, tops, summary, lines) {
  const {type} = current();
  const words = wordsFor(type);
  const seconds = lines?.covered_s || profile.range.end_s - profile.range.start_s;
  selector.markBad(false);
  byId('selection-error').hidden = true;
  showHeadline(byId('headline'), {...summary, average: summary.seconds / seconds}, type);
  showCompleteness(profile.completeness, profile.resolution, profile.exact);
  if (!profile.flame.whole) {
    panel.clear();
    byId('headline').replaceChildren(element('span', {class: 'faint'}, 'No data.'));
    const waiting = /^No data yet/.test(profile.explanation);
    showEmpty(profile.explanation, waiting);
    if (waiting) lookAgain = setTimeout(load, LOOK_AGAIN_MS);
    return;
  }
  showProfile();
  panel.show(profile.flame, {seconds, unit: words.unit, timeWord: words.timeWord}, {...asked, min_share: minShare()});
  top.show(tops.rows, tops.total, seconds, words.unit);
  top.select(nameOf(panel.graph.selected));
}

function nameOf(node) {
  return node < 0 ? '' : panel.tree.frames.name[panel.tree.frame[node]];
}

function fail(failure) {
  const isSelector = failure.status === 400 && /^(Selector|The selector)/.test(failure.message);
  selector.markBad(isSelector);
  panel.clear();
  byId('headline').replaceChildren(element('span', {class: 'faint'}, 'No answer.'));
  byId('completeness-anchor').hidden = true;
  showFailure(failure, load);
}

/** Load and show the series; null when it failed (the profile says why). */
async function loadSeries() {
  const signal = seriesQuestion.next();
  const {group_by: groupBy, type} = current();
  try {
    const answer = await waitFor([byId('chart')], byId('headline'), () => seriesQuestion.cancel(),
      ask('series', {...asked, group_by: groupBy, limit: 6}, signal), signal);
    chart.show(answer, wordsFor(type).unit, groupBy);
    showSeriesLegend(answer, groupBy);
    showMarks(answer, signal);
    return answer;
  } catch (failure) {
    if (!isDropped(failure) && !(failure instanceof ApiError)) throw failure;
    if (!isDropped(failure)) chart.show({step_s: 0, start_s: [], series: []}, '', '');
    return null;
  }
}

/** Releases and alerts on the series; without them it stays as it is. */
async function showMarks(answer, signal) {
  const {query, from, to} = asked;
  const {type, group_by: groupBy} = current();
  try {
    const [{releases}, {alerts}] = await Promise.all([ask('releases', {query, from, to, limit: 100}, signal), ask('alerts', {limit: 200}, signal)]);
    const services = new Set(releases.map(({service}) => service));
    const marks = [...releaseMarks(releases, services.size > 1), ...alertMarks(alerts.filter(({service}) => services.has(service)))]
      .filter(({at}) => at >= answer.range.start_s && at < answer.range.end_s);
    if (marks.length) chart.show(answer, wordsFor(type).unit, groupBy, marks);
  } catch (failure) {
    if (!isDropped(failure) && !(failure instanceof ApiError)) throw failure;
  }
}

/** The Compare page, with a time of this selection and the time as long before it. */
function compareWithBefore(from, to, focus) {
  const {query, type} = current();
  location.assign(compareAddress({...beforeAndAfter(query, from, to), type: type === 'cpu' ? '' : type, focus}));
}

function showSeriesLegend(answer, groupBy) {
  const legend = byId('series-legend');
  legend.hidden = !groupBy || !answer.series.length;
  const colours = SeriesChart.colours(answer.series.length);
  legend.replaceChildren(...answer.series.map(({labels}, index) =>
    element('li', {}, lineSample(colours[index]), element('span', {}, labels[groupBy] || `no ${groupBy}`))));
}

function pickRow(row) {
  if (!panel.selectFunction(row.name, row.mapping)) toast('This function is in merged frames only; zoom in or search for it.');
}

function submit(query) {
  if (query === current().query) load();
  else update({query, root: '', frame: ''}, {push: true});
}

function show(state, changed) {
  const has = (name) => changed === null || changed.has(name);
  if (has('query')) selector.set(state.query);
  if (has('type')) byId('type-title').textContent = wordsFor(state.type).title;
  if (has('view')) showView(state.view);
  if (has('group_by')) press(byId('group-by'), state.group_by);
  if (has('sort')) top.sortBy(state.sort);
  if (has('search')) showSearch(state.search);
  if (changed === null || RELOADS.some((name) => changed.has(name))) load();
  else {
    if (changed.has('group_by')) loadSeries();
    if (changed.has('root')) panel.followRoot();
    if (changed.has('frame')) panel.followFrame();
  }
}

function showView(view) {
  press(byId('view'), view);
  byId('split').className = `split ${{graph: 'graph', table: 'table-only'}[view] || ''}`;
}

function showSearch(text) {
  const input = byId('search');
  if (input.value !== text) input.value = text;
  panel.search(text);
  top.filter(text);
}

function startControls() {
  const types = attach(byId('type'), byId('type-menu'), () => byId('type-menu').replaceChildren(...TYPES.map((type) =>
    option(wordsFor(type).title, '', type === current().type, () => {
      types.hide();
      update({type, root: '', frame: ''}, {push: true});
    }))));
  byId('earlier').addEventListener('click', () => shiftWindow(-1));
  byId('later').addEventListener('click', () => shiftWindow(1));
  startCompleteness();
  startExport(() => asked);
  onPick(byId('group-by'), (value) => update({group_by: value}));
  onPick(byId('view'), (view) => update({view}));
  byId('selection').addEventListener('submit', (event) => event.preventDefault());
  byId('search').addEventListener('input', (event) => update({search: event.target.value}));
  byId('search').addEventListener('keydown', searchKey);
  byId('reset').addEventListener('click', () => update({root: ''}, {push: true}));
  byId('reload').addEventListener('click', load);
  byId('share').addEventListener('click', share);
  byId('theme').addEventListener('click', toggleTheme);
}

function searchKey(event) {
  if (event.key === 'Escape') {
    update({search: ''});
    event.target.blur();
  }
  if (event.key === 'Enter') panel.stepMatch(event.shiftKey ? -1 : 1);
}

/** A link for others holds absolute times, so that it shows the same tomorrow. */
function share() {
  const link = new URL(location.href);
  link.searchParams.set('from', asked.from);
  link.searchParams.set('to', asked.to);
  copyLink(link, () => update({from: String(asked.from), to: String(asked.to)}, {push: true}));
}

function shiftWindow(direction) {
  update(range.shifted(direction), {push: true});
}

function startKeys() {
  bind('/', 'Search frames', () => byId('search').focus());
  bind('s', 'Edit selector', () => selector.focus());
  bind('r', 'Time range', () => range.open());
  describe(['← ↑ ↓ →'], 'Move between frames');
  describe(['Enter'], 'Zoom to frame');
  bind('Escape', 'Reset zoom, then search', () => update(current().root ? {root: ''} : {search: ''}, {push: Boolean(current().root)}));
  bind('v', 'Compare with the time before', () => compareWithBefore(asked.from, asked.to, nameOf(panel.graph.selected)));
  bind('n', 'Next, previous match', () => panel.stepMatch(1));
  bind('p', 'Next, previous match', () => panel.stepMatch(-1));
  bind('[', 'Shift time window', () => shiftWindow(-1));
  bind(']', 'Shift time window', () => shiftWindow(1));
  bind('t', 'Theme', toggleTheme);
  for (const key of ['ArrowUp', 'ArrowDown', 'ArrowLeft', 'ArrowRight']) bind(key, '', focusGraph);
  listen();
}

/** Arrow keys mean the graph once a frame is selected, wherever the focus is. */
function focusGraph(event) {
  if (panel.graph.selected < 0 || event.target !== document.body) return;
  byId('flame').focus({preventScroll: true});
  byId('flame').dispatchEvent(new KeyboardEvent('keydown', {key: event.key, cancelable: true}));
}

panel.compare = (name) => compareWithBefore(asked.from, asked.to, name);
panel.source = (name, mapping) => {
  const {query, from, to} = current();
  location.assign(sourceAddress({query, from, to, function: name, mapping}));
};
startControls();
startKeys();
onChange(show);
show(current(), null);

/** What browser tests read: everything else they do as a person would. */
window.fleetprofTest = {panel, chart, top, question: () => asked};
