// Downloads of what is shown, in the formats of other tools.
import {urlFor} from './api.js';
import {byId, element} from './dom.js';
import {attach} from './popup.js';

const FORMATS = [
  ['pprof', 'pprof', 'go tool pprof, Grafana'],
  ['folded', 'Folded stacks', 'flamegraph.pl'],
  ['speedscope', 'speedscope', 'speedscope.app'],
  ['json', 'JSON', 'this graph'],
];

/** @param {() => Record<string, string|number>} question the parameters of the profile that is shown */
export function startExport(question) {
  const popup = attach(byId('export'), byId('export-menu'), () => {
    byId('export-menu').replaceChildren(...FORMATS.map(([format, title, note]) => {
      const link = element('a', {class: 'option', role: 'menuitem', download: '', href: urlFor('profile', {...question(), format})},
        element('span', {}, title), element('span', {class: 'faint'}, note));
      link.addEventListener('click', () => popup.hide());
      return link;
    }));
  });
}
