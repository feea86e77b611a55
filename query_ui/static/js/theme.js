// Light and dark: the system's scheme until the user chooses; canvases are told to paint again.

const system = matchMedia('(prefers-color-scheme: dark)');
const probe = document.createElement('span');
probe.hidden = true;
document.body.append(probe);

/** @returns {boolean} */
export function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : system.matches;
}

/** Switch between light and dark, and remember it where the browser lets us. */
export function toggleTheme() {
  const chosen = isDark() ? 'light' : 'dark';
  document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem('fleetprof-theme', chosen);
  } catch (refused) {
    console.debug('theme not kept', refused);
  }
  dispatchEvent(new Event('themechange'));
}

system.addEventListener('change', () => dispatchEvent(new Event('themechange')));

/**
 * The colour that a token of tokens.css has now, in a form that a canvas understands. Tokens are written with
 * light-dark(), which only a real property resolves.
 * @param {string} token e.g. "--series"
 * @returns {string}
 */
export function colour(token) {
  probe.style.color = `var(${token})`;
  return getComputedStyle(probe).color;
}

/**
 * The text of a token that is no colour.
 * @param {string} token e.g. "--font"
 * @returns {string}
 */
export function tokenText(token) {
  return getComputedStyle(document.documentElement).getPropertyValue(token).trim();
}
