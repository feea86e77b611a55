// How a host is: its state, what is wrong in a few words, and the figures that rows are sorted by.

/** @typedef {{host: string, silent: boolean, last_seen_s: number, problems: {severity: string, text: string}[],
 *   agent_version: string, backend: string, kernel: string, architecture: string, cpus: number, memory_bytes: number,
 *   started_s: number, hooks_off: {name: string, reason: string, is_program: boolean}[], clock_skew_s: number,
 *   queue_windows: number, utilisation: number|null, cores: number,
 *   services: {service: string, version: string, cores: number}[],
 *   cost: {share: number|null, bpf_measured: boolean, rss_bytes: number, map_bytes: number}, completeness: (number|null)[],
 *   losses: {reason: string, count: number, explanation: string}[]}} Host */

/** @param {Host} host @returns {"off"|"bad"|"warning"|"good"} */
export function stateOf({silent, problems}) {
  if (silent) return 'off';
  const severities = problems.map(({severity}) => severity);
  return severities.includes('bad') ? 'bad' : severities.includes('warning') ? 'warning' : 'good';
}

/** The first problem without its advice; "Healthy". @param {Host} host @returns {string} */
export function shortProblem(host) {
  if (stateOf(host) === 'good') return 'Healthy';
  return (host.problems[0]?.text || 'Silent').split(/[.:;](?:\s|$)/)[0];
}

/** The mean of the hours that were expected; null when none was. @param {Host} host @returns {number|null} */
export function completenessOf({completeness}) {
  const known = completeness.filter((cell) => cell !== null);
  return known.length ? known.reduce((sum, cell) => sum + cell, 0) / known.length : null;
}

/** The version that most agents have. @param {Host[]} hosts @returns {string} */
export function commonVersion(hosts) {
  const counts = new Map();
  for (const {agent_version: version} of hosts) if (version) counts.set(version, (counts.get(version) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] || '';
}

/** @param {Host} host @param {string} text @returns {boolean} whether any of its words holds the text */
export function holds(host, text) {
  const words = [host.host, host.agent_version, host.kernel, host.architecture, ...host.problems.map((problem) => problem.text),
    ...host.services.flatMap(({service, version}) => [service, version])];
  return words.some((word) => word.toLowerCase().includes(text));
}

/** Quantile 0..1 of numbers; null of none. @param {number[]} values @param {number} part @returns {number|null} */
export function quantile(values, part) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1 + (part === 0 ? 1 : 0))];
}

const VALUES = {
  host: ({host}) => host, version: (host) => host.agent_version, cores: ({cores}) => cores, cost: ({cost}) => cost.share ?? -1,
  memory: ({cost}) => cost.rss_bytes + cost.map_bytes, complete: (host) => completenessOf(host) ?? 2, seen: (host) => -host.last_seen_s,
};

/**
 * The hosts that are wanted, in order; by health is the server's order, worst first.
 * @param {Host[]} hosts
 * @param {{search: string, health: string, sort: string}} choice
 * @returns {Host[]}
 */
export function chosen(hosts, {search, health, sort}) {
  const text = search.trim().toLowerCase();
  const wanted = {attention: (host) => stateOf(host) !== 'good', silent: ({silent}) => silent}[health] || (() => true);
  const found = hosts.filter((host) => wanted(host) && (!text || holds(host, text)));
  const value = VALUES[sort.replace('-', '')];
  const turn = sort.startsWith('-') ? -1 : 1;
  if (!value) return turn < 0 ? found.reverse() : found;
  return found.map((host) => [value(host), host]).sort(([a], [b]) => (a < b ? -turn : a > b ? turn : 0)).map(([, host]) => host);
}
