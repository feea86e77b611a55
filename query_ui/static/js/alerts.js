// The Alerts page: what fires, what was judged, and what is silenced.
import {ApiError, ask, isDropped, Latest} from './api.js';
import {endSilence, silenceForm} from './alerts/silence_form.js';
import {markOf, moment, rough, stateWords, titleOf} from './alerts/words.js';
import {byId, button, element, onPick, press} from './dom.js';
import {bind, describe, listen} from './keys.js';
import {waitFor} from './loading.js';
import {attach} from './popup.js';
import {current, onChange, update} from './state.js';
import {healthMark} from './svg.js';
import {toggleTheme} from './theme.js';
import {now} from './time.js';

const latest = new Latest();
let answer = null;
let silences = [];
let loads = 0;

async function load() {
  loads += 1;
  const signal = latest.next();
  try {
    const asked = Promise.all([ask('alerts', {state: 'all', limit: 1000}, signal), ask('silences', {}, signal)]);
    const [alerts, quiet] = await waitFor([byId('alerts-part')], byId('say'), () => latest.cancel(), asked, signal);
    answer = alerts;
    silences = quiet.silences;
    render();
    dispatchEvent(new Event('alertschange'));
  } catch (failure) {
    if (isDropped(failure)) return;
    if (!(failure instanceof ApiError)) throw failure;
    byId('say').textContent = 'No answer.';
    state(failure.message, failure.hint, [button('Try again', load, 'btn')]);
  } finally {
    if (!signal.aborted) document.body.dataset.loaded = String(loads);
  }
}

function render() {
  if (!answer) return;
  press(byId('state'), current().state);
  byId('say').replaceChildren(...sentence());
  byId('rules-problem').hidden = !answer.problem;
  byId('rules-problem').textContent = answer.problem;
  const rows = chosen();
  byId('alerts-part').hidden = !rows.length;
  byId('alerts-state').hidden = rows.length > 0;
  if (rows.length) byId('alerts').replaceChildren(...rows.map(rowOf));
  else showNone();
  showRules();
  showSilences();
}

function isOpen({state: name}) {
  return name === 'firing' || name === 'pending';
}

function sentence() {
  if (!answer.configured) return ['No alerts are judged: this server has no rules.'];
  const count = (name) => answer.alerts.filter(({state: each}) => each === name).length;
  const [firing, pending] = [count('firing'), count('pending')];
  const first = firing || pending ? [
    ...(firing ? [element('b', {}, String(firing)), firing === 1 ? ' alert fires' : ' alerts fire'] : []),
    ...(firing && pending ? [', '] : []),
    ...(pending ? [element('b', {}, String(pending)), firing ? ' pending' : pending === 1 ? ' alert is pending' : ' alerts are pending'] : []), '.',
  ] : ['No alerts.'];
  const {length} = answer.rules;
  const checked = answer.evaluated_at ? `last check ${rough(now() - answer.evaluated_at)} ago` : 'not checked yet';
  const waiting = answer.waiting ? ` ${answer.waiting} notification${answer.waiting === 1 ? ' waits' : 's wait'} for a receiver.` : '';
  return [...first, ` ${length} rule${length === 1 ? '' : 's'} watched, ${checked}.${waiting}`];
}

function chosen() {
  const {state: wanted, search} = current();
  const text = search.trim().toLowerCase();
  return answer.alerts.filter((alert) => (wanted === 'all' || (wanted === 'open') === isOpen(alert))
    && (!text || [alert.summary, alert.function, alert.service, alert.version, alert.rule].some((word) => word.toLowerCase().includes(text))));
}

function showNone() {
  if (!answer.configured) state('No alert rules', 'Start the collector with alert_rules (--alert-rules FILE); deploy/README.md says how rules are written.', []);
  else if (current().search) state(`No alert matches "${current().search}"`, '', [button('Clear filter', () => update({search: ''}), 'btn')]);
  else if (current().state === 'open') state('No alerts', 'Nothing is past its bound, and no release costs more than the one before it.', [button('Ended alerts', () => update({state: 'ended'}), 'btn')]);
  else state('No alert has ended yet', '', [button('Open alerts', () => update({state: 'open'}), 'btn')]);
}

function state(title, text, actions) {
  byId('alerts-part').hidden = true;
  byId('alerts-state').hidden = false;
  byId('alerts-state').replaceChildren(element('div', {class: 'state', role: 'status'}, element('h3', {}, title), element('p', {}, text), element('div', {class: 'row'}, ...actions)));
}

function rowOf(alert) {
  const {word} = stateWords(alert.state);
  const address = `/alerts/${encodeURIComponent(alert.id)}`;
  const quiet = alert.silenced_by.length ? [element('span', {class: 'badge'}, 'silenced')] : [];
  const what = element('div', {class: 'what'}, element('a', {href: address}, ...titleOf(alert)), element('small', {title: alert.reason}, alert.summary));
  const since = alert.fired_at || alert.active_at;
  const row = element('tr', {class: isOpen(alert) ? '' : 'ended', 'data-id': alert.id},
    element('td', {}, element('span', {class: 'state-mark'}, healthMark(markOf(alert.state)), word, ...quiet)),
    element('td', {}, what),
    element('td', {class: 'wide nowrap'}, alert.service, ' ', element('span', {class: 'faint'}, alert.version)),
    element('td', {class: 'wide nowrap muted'}, alert.rule),
    element('td', {class: 'num muted', title: `${moment(since)} UTC`}, alert.ended_at ? moment(since) : rough(now() - since)));
  row.addEventListener('click', (event) => {
    if (!event.target.closest('a')) location.assign(address);
  });
  return row;
}

function showRules() {
  byId('rules-note').textContent = answer.configured ? `judged every ${rough(answer.interval_s)}` : '';
  byId('rules').replaceChildren(...(answer.rules.length ? answer.rules.map(ruleItem) : [element('li', {class: 'muted'}, 'None.')]));
}

function ruleItem({name, kind, scope, receivers, place, held}) {
  const told = receivers.length ? `tells ${receivers.join(', ')}` : 'tells nobody';
  return element('li', {title: place}, healthMark(held ? 'warning' : 'good'),
    element('div', {}, element('b', {}, name), ' ', element('span', {class: 'faint'}, `${kind}, ${told}`), element('br'), element('span', {class: 'mono muted'}, scope),
      ...(held ? [element('p', {class: 'held'}, `Held: ${held}.`)] : [])));
}

function showSilences() {
  const kept = silences.filter(({state: each}) => each !== 'expired');
  byId('silence').hidden = !answer.configured;
  byId('silences').replaceChildren(...(kept.length ? kept.map(silenceItem) : [element('li', {class: 'muted'}, 'No silence is in force.')]));
}

function silenceItem({id, state: name, matchers, starts_at: starts, ends_at: ends, author, comment}) {
  const when = name === 'pending' ? `from ${moment(starts)} to ${moment(ends)} UTC` : `until ${moment(ends)} UTC`;
  return element('li', {}, element('div', {}, element('span', {class: 'mono'}, matchers), element('br'), element('span', {class: 'muted'}, `${when}, ${author}: ${comment}`)),
    element('span', {class: 'grow'}), button('End now', () => endSilence(id, load)));
}

function startControls() {
  const popup = attach(byId('silence'), byId('silence-menu'), () => byId('silence-menu').replaceChildren(silenceForm('', () => {
    popup.hide();
    load();
  })));
  byId('search').addEventListener('input', (event) => update({search: event.target.value}));
  byId('search').addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    update({search: ''});
    event.target.blur();
  });
  onPick(byId('state'), (name) => update({state: name}));
  byId('theme').addEventListener('click', toggleTheme);
  bind('/', 'Filter alerts', () => byId('search').focus());
  describe(['Tab'], 'Move between alerts');
  bind('Escape', 'Clear the filter', () => update({search: ''}));
  bind('t', 'Theme', toggleTheme);
  listen();
}

startControls();
onChange(() => {
  byId('search').value = current().search;
  render();
});
byId('search').value = current().search;
load();
