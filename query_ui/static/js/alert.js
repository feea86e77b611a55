// The page of one alert: how large, since when, on which hosts, and why it is this one.
import {startAccept} from './alerts/accept_dialog.js';
import {hostDots} from './alerts/dots.js';
import {effectBar} from './alerts/effect.js';
import {callerRows, funnelItems, ledger, releaseFacts, thresholdFacts} from './alerts/evidence.js';
import {endSilence, silenceForm} from './alerts/silence_form.js';
import {ageWords, markOf, moment, selectorOf, stateWords, titleOf} from './alerts/words.js';
import {ApiError, ask, isDropped, Latest} from './api.js';
import {amountsFor, change} from './diff/amounts.js';
import {byId, button, element, lineSample} from './dom.js';
import {bind, listen} from './keys.js';
import {fixed, percent, unbroken} from './numbers.js';
import {attach} from './popup.js';
import {alertMarks} from './chart_marks.js';
import {SeriesChart} from './series_chart.js';
import {healthMark} from './svg.js';
import {toggleTheme} from './theme.js';
import {now, toWindow} from './time.js';

const ID = decodeURIComponent(location.pathname.split('/').pop());
const latest = new Latest();
const chart = new SeriesChart(byId('chart'), (from, to) => location.assign(exploreAddress(serviceQuery(), from, to)));
let alert = null;
let loads = 0;

async function load() {
  loads += 1;
  const signal = latest.next();
  try {
    await show(await ask(`alerts/${encodeURIComponent(ID)}`, {}, signal), signal);
  } catch (failure) {
    if (isDropped(failure)) return;
    if (!(failure instanceof ApiError)) throw failure;
    fail(failure);
  } finally {
    if (!signal.aborted) document.body.dataset.loaded = String(loads);
  }
}

function fail(failure) {
  const retry = failure.status === 400 ? [] : [button('Try again', load, 'btn')];
  byId('alert-part').hidden = true;
  byId('alert-state').hidden = false;
  byId('alert-state').replaceChildren(element('section', {class: 'card'}, element('div', {class: 'state', role: 'status'}, element('h3', {}, failure.message), element('p', {}, failure.hint),
    element('div', {class: 'row'}, ...retry, element('a', {class: 'btn', href: '/alerts'}, 'All alerts')))));
}

async function show(found, signal) {
  alert = found;
  byId('alert-state').hidden = true;
  byId('alert-part').hidden = false;
  showHead();
  drawEffect();
  drawDots();
  showCallers();
  showSide();
  dispatchEvent(new Event('alertschange'));
  await Promise.all([showSilences(signal), showChart(signal)]);
}

function isRelease() {
  return alert.kind === 'release' && 'delta' in alert.evidence;
}

function showHead() {
  const isOpen = !alert.ended_at;
  document.title = `${alert.function || alert.service} · Alert · fleetprof`;
  byId('crumb').textContent = alert.service;
  byId('title').replaceChildren(...titleOf(alert));
  byId('badge').className = `badge ${stateWords(alert.state).className}`;
  byId('badge').replaceChildren(healthMark(markOf(alert.state)), ageWords(alert));
  byId('reason').textContent = unbroken(alert.reason);
  byId('silence').hidden = byId('accept').hidden = !isOpen;
  byId('accept').hidden ||= alert.kind !== 'release';
  const link = alert.evidence.link || '/';
  byId('evidence-link').href = localAddress(link);
  byId('evidence-link').textContent = isRelease() ? 'Compare' : 'Explore';
}

/** The link's path on this server: in notifications it may name another address of it. */
function localAddress(link) {
  const address = new URL(link, location.href);
  return address.pathname.replace(/^.*(?=\/compare$)/, '') + address.search;
}

async function showSilences(signal) {
  byId('silenced').hidden = !alert.silenced_by.length;
  if (!alert.silenced_by.length) return;
  const {silences} = await ask('silences', {}, signal);
  const silence = silences.filter(({id}) => alert.silenced_by.includes(id)).sort((a, b) => b.ends_at - a.ends_at)[0];
  if (!silence) return;
  byId('silenced').title = `${silence.author}: ${silence.comment}`;
  byId('silenced').replaceChildren(`Silenced until ${moment(silence.ends_at)} UTC`, button('End', () => endSilence(silence.id, load), 'link'));
}

function drawEffect() {
  const {evidence} = alert;
  if (isRelease()) {
    const amounts = amountsFor(evidence.unit);
    byId('effect').textContent = change(amounts, evidence.delta);
    byId('effect').className = `figure ${evidence.delta >= 0 ? 'more' : 'less'}`;
    byId('effect-of').textContent = evidence.kind === 'cpu' ? 'per host' : `of ${alert.service} CPU${evidence.kind === 'self' ? ', itself' : ', with what it calls'}`;
    byId('effect-bar').replaceChildren(effectBar(evidence, Math.max(byId('effect-bar').clientWidth, 240)));
    byId('facts').replaceChildren(...releaseFacts(evidence));
    return;
  }
  byId('effect-card').hidden = alert.value === null || !evidence.range;
  if (byId('effect-card').hidden) return;
  byId('effect').textContent = evidence.unit === 'cores' ? `${fixed(alert.value, 2)} cores` : percent(alert.value);
  byId('effect-of').textContent = `${alert.service}, when it was judged last as past its bound`;
  byId('facts').replaceChildren(...thresholdFacts(evidence));
}

function drawDots() {
  const {evidence} = alert;
  const pairs = evidence.per_host || [];
  byId('dots-card').hidden = !pairs.length;
  if (!pairs.length) return;
  if (!isRelease()) {
    showHostCores(pairs);
    return;
  }
  const names = [evidence.baseline, alert.version];
  byId('dots-title').textContent = evidence.concurrent ? 'Each host, side by side' : 'Each host, before and after';
  byId('dots-legend').replaceChildren(...names.map((name, side) => element('li', {}, element('i', {class: `dot-sample side-${side}`}), name)));
  byId('dots').replaceChildren(hostDots(pairs, evidence.unit, names, Math.max(byId('dots').clientWidth - 32, 300)));
}

/** A threshold's hosts: their cores, the most first. */
function showHostCores(hosts) {
  const shown = [...hosts].sort((a, b) => b.cores - a.cores).slice(0, 12);
  byId('dots-title').textContent = hosts.length > shown.length ? `The ${shown.length} busiest of ${hosts.length} hosts` : 'Each host';
  byId('dots').replaceChildren(element('table', {class: 'table'}, element('tbody', {}, ...shown.map(({host, cores}) =>
    element('tr', {}, element('td', {class: 'mono'}, host), element('td', {class: 'num'}, `${fixed(cores, 3)} cores`))))));
}

function showCallers() {
  const {head, rows} = callerRows(alert.evidence.callers || []);
  byId('callers-card').hidden = !rows.length;
  byId('callers-head').replaceChildren(...head.map((title, index) => element('th', {scope: 'col', class: index ? 'num' : ''}, title)));
  byId('callers').replaceChildren(...rows);
  byId('callers-note').textContent = `shares of ${alert.service} CPU`;
}

function showSide() {
  const {evidence} = alert;
  byId('cost-card').hidden = !isRelease();
  byId('funnel-card').hidden = !evidence.funnel;
  if (isRelease()) byId('ledger').replaceChildren(...ledger(evidence, alert.function));
  if (evidence.funnel) byId('funnel').replaceChildren(...funnelItems(evidence.funnel));
  byId('events').replaceChildren(...events().map(({at, text, className}) => element('li', {}, element('time', {datetime: new Date(at * 1000).toISOString(), title: 'UTC'}, moment(at)), element('span', {class: className}, text))));
  byId('labels').replaceChildren(...Object.entries(alert.labels).map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))));
  const start = evidence.b?.start_s ?? evidence.range?.start_s;
  const end = evidence.b?.end_s ?? evidence.range?.end_s;
  byId('continue').replaceChildren(
    ...(isRelease() ? [element('a', {class: 'btn', href: localAddress(evidence.link)}, 'Compare releases')] : []),
    ...(start ? [element('a', {class: 'btn', href: exploreAddress(evidence.b?.query ?? serviceQuery(), start, end, alert.function)}, alert.function ? 'Explore function' : 'Explore service')] : []));
}

/** Events, notifications and the release itself, in order. */
function events() {
  const {evidence} = alert;
  const found = alert.events.map(({at, state, reason, author}) => {
    const by = author ? ` by ${author}` : '';
    return {at, text: `${stateWords(state).word}${by}${state === 'firing' || !reason ? '' : `: ${reason}`}`, className: state === 'firing' ? 'more' : ''};
  });
  if (evidence.first_seen_s) found.push({at: evidence.first_seen_s, text: `${alert.service} ${alert.version} on its first host`, className: ''});
  for (const {receiver, status, queued_at: at, outcome, attempts} of alert.notifications) {
    found.push({at, text: `Told ${receiver}: ${status}, ${outcome || 'not delivered yet'}${attempts > 1 ? `, ${attempts} attempts` : ''}`, className: ''});
  }
  return found.sort((a, b) => a.at - b.at);
}

function serviceQuery() {
  return `service=${JSON.stringify(alert.service)}`;
}

function exploreAddress(query, from, to, search = '') {
  return `/?${new URLSearchParams({query, from: String(from), to: String(to), ...(search ? {search} : {})})}`;
}

/** Cores by version from before the change until it was over. */
async function showChart(signal) {
  const {evidence} = alert;
  const from = evidence.a?.start_s ?? (evidence.range?.start_s ?? alert.active_at) - 1800;
  const until = Math.min(now(), (alert.ended_at || now()) + 1800);
  const length = (evidence.b?.end_s ?? until) - (evidence.b?.start_s ?? from);
  const answer = await ask('series', {query: serviceQuery(), from: toWindow(from - length / 2), to: toWindow(until), group_by: 'version', limit: 6}, signal);
  const release = evidence.first_seen_s ? [{at: evidence.first_seen_s, kind: 'release', label: alert.version, title: `Release: ${alert.service} ${alert.version}`}] : [];
  chart.show(answer, 'cores', 'version', [...release, ...alertMarks([alert])]);
  const colours = SeriesChart.colours(answer.series.length);
  byId('chart-title').textContent = `Cores of ${alert.service} by version`;
  byId('chart-legend').replaceChildren(...answer.series.map(({labels}, index) => element('li', {}, lineSample(colours[index]), labels.version || 'no version')));
}

function startControls() {
  const popup = attach(byId('silence'), byId('silence-menu'), () => byId('silence-menu').replaceChildren(silenceForm(selectorOf(alert.labels), () => {
    popup.hide();
    load();
  })));
  startAccept(ID, load);
  byId('theme').addEventListener('click', toggleTheme);
  bind('v', 'Compare, or explore', () => byId('evidence-link').click());
  bind('s', 'Silence', () => byId('silence').hidden || popup.show());
  bind('t', 'Theme', toggleTheme);
  listen();
  let width = innerWidth;
  addEventListener('resize', () => {
    if (!alert || width === innerWidth) return;
    width = innerWidth;
    drawEffect();
    drawDots();
  });
}

startControls();
load();
