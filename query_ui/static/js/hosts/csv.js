// The hosts as a table for other programs.
import {completenessOf, stateOf} from './health.js';

const COLUMNS = [
  ['host', ({host}) => host], ['health', stateOf], ['problems', ({problems}) => problems.map(({text}) => text).join(' ')],
  ['agent_version', (host) => host.agent_version], ['kernel', ({kernel}) => kernel], ['cpus', ({cpus}) => cpus], ['cores', ({cores}) => cores],
  ['services', ({services}) => services.map(({service, version}) => `${service} ${version}`.trim()).join('; ')],
  ['cost_share', ({cost}) => cost.share ?? ''], ['agent_rss_bytes', ({cost}) => cost.rss_bytes], ['agent_map_bytes', ({cost}) => cost.map_bytes],
  ['completeness', (host) => completenessOf(host) ?? ''], ['clock_skew_s', (host) => host.clock_skew_s],
  ['last_seen', (host) => new Date(host.last_seen_s * 1000).toISOString()],
];

/** RFC 4180. @param {import('./health.js').Host[]} hosts @returns {string} */
export function toCsv(hosts) {
  const lines = [COLUMNS.map(([name]) => name), ...hosts.map((host) => COLUMNS.map(([, value]) => value(host)))];
  return lines.map((cells) => `${cells.map(quoted).join(',')}\r\n`).join('');
}

function quoted(value) {
  const text = String(value);
  const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // no formulas in spreadsheets
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** @param {string} name @param {string} text */
export function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], {type: 'text/csv'}));
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}
