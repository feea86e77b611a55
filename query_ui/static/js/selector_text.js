// The text of a label selector, cut into finished matchers and the rest that is still being typed.
// The server's parser is the judge; this one only decides what is shown as a finished matcher.

const MATCHER = /\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)\s*(?:,|$)/y;

/** @typedef {{label: string, op: string, value: string}} Matcher  `value` is as written, quotes included */

/**
 * @param {string} text
 * @returns {{matchers: Matcher[], rest: string}}
 */
export function split(text) {
  let body = text.trim();
  if (body.startsWith('{') && body.endsWith('}')) body = body.slice(1, -1);
  const matchers = [];
  let at = 0;
  for (;;) {
    MATCHER.lastIndex = at;
    const found = MATCHER.exec(body);
    if (!found) break;
    matchers.push({label: found[1], op: found[2], value: found[3]});
    at = MATCHER.lastIndex;
  }
  return {matchers, rest: body.slice(at).trim()};
}

/**
 * The text of matchers followed by what is still typed.
 * @param {Matcher[]} matchers
 * @param {string} [rest]
 * @returns {string}
 */
export function join(matchers, rest = '') {
  const parts = matchers.map(({label, op, value}) => label + op + value);
  if (rest.trim()) parts.push(rest.trim());
  return parts.join(',');
}

/**
 * The text with `matcher` added; another `=` matcher of the same label is replaced.
 * @param {string} text
 * @param {Matcher} matcher
 * @returns {string}
 */
export function withMatcher(text, matcher) {
  const {matchers, rest} = split(text);
  const others = matchers.filter(({label, op}) => label !== matcher.label || op !== '=');
  return join([...others, matcher], rest);
}
