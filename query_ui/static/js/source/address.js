// The address of the Source page.

/**
 * @param {{query: string, from: string|number, to: string|number, function: string, mapping: string}} state
 * @returns {string}
 */
export function sourceAddress(state) {
  const given = Object.entries(state).filter(([, value]) => value !== '');
  return `/source?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}
