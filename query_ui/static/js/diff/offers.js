// What to compare: releases first, each with the version that it replaces, over times that can be compared.
import {element} from '../dom.js';
import {percent} from '../numbers.js';
import {clock, day, now, toWindow} from '../time.js';

const STILL_RUNS_S = 300;
const SHORTEST_S = 60;

/** @typedef {{service: string, version: string, first_seen_s: number, last_seen_s: number, hosts: number, hosts_now: number,
 *   host_share: number, predecessor: string}} Release */
/** @typedef {{title: string, note: string, state: Record<string, string>}} Offer */

/**
 * A selector of one version.
 * @param {string} service
 * @param {string} version
 * @returns {string}
 */
export function versionSelector(service, version) {
  return `service=${JSON.stringify(service)},version=${JSON.stringify(version)}`;
}

/**
 * Each release against the version before it: at the same time where both still run, else as long before.
 * @param {Release[]} releases the newest first
 * @returns {Offer[]}
 */
export function releaseOffers(releases) {
  return releases.filter(({predecessor, first_seen_s: first, last_seen_s: last}) => predecessor && last - first >= SHORTEST_S).map((release) => {
    const before = releases.find(({service, version}) => service === release.service && version === release.predecessor);
    const {first_seen_s: first, last_seen_s: last} = release;
    const beside = before && before.last_seen_s >= last - STILL_RUNS_S && before.hosts_now > 0;
    const a = beside ? [first, last] : [first - (last - first), first];
    return {
      title: `${release.service} ${release.predecessor} → ${release.version}`,
      note: `${ageOf(first)}, ${release.hosts_now ? `${percent(release.host_share, 0)} of hosts` : 'runs no more'}`,
      state: {
        a_query: versionSelector(release.service, release.predecessor), a_from: String(a[0]), a_to: String(a[1]),
        b_query: versionSelector(release.service, release.version), b_from: String(first), b_to: String(last),
      },
    };
  });
}

function ageOf(first) {
  return day(first) === day(now()) ? `since ${clock(first)} UTC` : `since ${day(first)}, ${clock(first)} UTC`;
}

/** A selection against the time as long before it. @param {string} query @param {number} start Unix @param {number} end @returns {Record<string, string>} */
export function beforeAndAfter(query, start, end) {
  const [from, to] = [toWindow(start), toWindow(end)];
  return {a_query: query, a_from: String(from - (to - from)), a_to: String(from), b_query: query, b_from: String(from), b_to: String(to)};
}

/** What can be compared without any release. @returns {Offer[]} */
export function timeOffers() {
  const end = now();
  return [
    {title: 'The last hour against the hour before', note: 'everything', state: beforeAndAfter('', end - 3600, end)},
    {title: 'The last 15 minutes against those before', note: 'everything', state: beforeAndAfter('', end - 900, end)},
  ];
}

/** The address of the Compare page with these selections. @param {Record<string, string>} state @returns {string} */
export function compareAddress(state) {
  return `/compare?${new URLSearchParams(Object.entries(state).filter(([, value]) => value))}`;
}

/** A list of links. @param {Offer[]} offers @returns {HTMLElement[]} */
export function offerLinks(offers) {
  return offers.map(({title, note, state}) =>
    element('a', {class: 'option', href: compareAddress(state)}, element('span', {}, title), element('span', {class: 'faint'}, note)));
}
