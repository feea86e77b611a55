// What people should know of the collector itself, above every page: its disk is full, days were dropped.
import {ApiError, ask} from './api.js';
import {byId, element, icon} from './dom.js';

const EVERY_MS = 60_000;

async function show() {
  try {
    const {notices} = await ask('status', {});
    const place = byId('notices');
    place.replaceChildren(...notices.map(banner));
    place.hidden = !notices.length;
  } catch (failure) {
    if (!(failure instanceof ApiError)) throw failure; // the page itself says that the server does not answer
  }
}

function banner({severity, title, text}) {
  const worst = severity === 'critical';
  return element('div', {class: worst ? 'banner bad' : 'banner', role: worst ? 'alert' : 'status'},
    icon('warn'), element('span', {}, element('b', {}, title), ` ${text}`));
}

show();
setInterval(() => document.hidden || show(), EVERY_MS);
