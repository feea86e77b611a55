// Small pieces for building the page: elements, icons, looking things up.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * The element with this id; throws when the template and the script disagree.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

/**
 * A new element. Strings among the children become text, never markup.
 * @param {string} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/**
 * One of the icons of icons.html.
 * @param {string} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * A button that calls `act`.
 * @param {string} label
 * @param {() => void} act
 * @param {string} [className]
 * @returns {HTMLElement}
 */
export function button(label, act, className = 'btn small') {
  const made = element('button', {type: 'button', class: className}, label);
  made.addEventListener('click', act);
  return made;
}

/**
 * A short line of colour for a chart's legend. Geometry and colour are attributes, so no inline style is needed.
 * @param {string} colour
 * @returns {SVGElement}
 */
export function lineSample(colour) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 14 8');
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS(SVG, 'line');
  for (const [name, value] of Object.entries({x1: '0', y1: '4', x2: '14', y2: '4', stroke: colour})) line.setAttribute(name, value);
  svg.append(line);
  return svg;
}

/**
 * Mark one button of a segmented control as pressed.
 * @param {HTMLElement} group
 * @param {string} value
 */
export function press(group, value) {
  for (const option of group.querySelectorAll('button')) option.setAttribute('aria-pressed', String(option.value === value));
}

/**
 * Call `pick` with the value of the button that is clicked in a segmented control.
 * @param {HTMLElement} group
 * @param {(value: string) => void} pick
 */
export function onPick(group, pick) {
  group.addEventListener('click', (event) => {
    const option = event.target.closest('button');
    if (option) pick(option.value);
  });
}
