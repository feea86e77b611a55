// How a profile is asked for, and what its values are in words: the lens of the Explore page.
import {ask} from '../api.js';
import {frameFigures} from './describe.js';
import {showDetails} from './details.js';
import {showKinds} from './path_row.js';
import {decode} from './wire.js';

/**
 * @typedef {object} Lens  what a FlamePanel must know of the trees it shows
 * @property {(question: Record<string, string|number>, signal: AbortSignal) => Promise<any>} ask  the tree's wire form
 * @property {(wire: any) => Parameters<typeof import('./layout.js').layOut>[0]} decode  columns of the wire form
 * @property {(list: HTMLElement, tree: import('./layout.js').Tree) => void} legend
 * @property {(tree: import('./layout.js').Tree, node: number, scale: import('./describe.js').Scale) => [string, string][]} facts  the tooltip's
 * @property {typeof showDetails} details
 */

/** @type {Lens} */
export const PROFILE_LENS = {
  ask: async (question, signal) => (await ask('profile', question, signal)).flame,
  decode,
  legend: showKinds,
  facts(tree, node, scale) {
    const figures = frameFigures(tree, node, scale);
    return [['Total', `${figures.total} · ${figures.cores} ${scale.unit}`], ['Self', figures.self]];
  },
  details: showDetails,
};
