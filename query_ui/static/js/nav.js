// How many alerts fire, beside their entry in the navigation of every page.
import {ApiError, ask} from './api.js';
import {element} from './dom.js';

const EVERY_MS = 60_000;
const entry = document.querySelector('.nav a[href="/alerts"]');

async function show() {
  try {
    const {alerts} = await ask('alerts', {state: 'open'});
    const firing = alerts.filter(({state, silenced_by: by}) => state === 'firing' && !by.length).length;
    entry.querySelector('.count')?.remove();
    if (firing) entry.append(element('span', {class: 'count', 'aria-label': `${firing} firing`}, String(firing)));
  } catch (failure) {
    if (!(failure instanceof ApiError)) throw failure; // the page itself says that the server does not answer
  }
}

show();
setInterval(() => document.hidden || show(), EVERY_MS);
addEventListener('alertschange', show);
