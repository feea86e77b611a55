// The flame graph with all that belongs to it: tooltip, details, path, search, and the detail of a zoom.
import {ApiError, isDropped, Latest} from '../api.js';
import {byId, element} from '../dom.js';
import {count, percent} from '../numbers.js';
import {current, update} from '../state.js';
import {toast} from '../toast.js';
import {frameNote} from './describe.js';
import {showNoDetails} from './details.js';
import {hasMerged, layOutDetail} from './detail.js';
import {findPath, pathText} from './frame_path.js';
import {FlameGraph} from './graph.js';
import {listenToKeys} from './keyboard.js';
import {isWithin, layOut} from './layout.js';
import {showPath} from './path_row.js';
import {listenToPointer} from './pointer.js';
import {PROFILE_LENS} from './profile_lens.js';
import {nextMatch, search} from './search.js';
import {Tooltip} from './tooltip.js';

export class FlamePanel {
  graph = new FlameGraph(byId('flame'));
  /** @type {((name: string) => void)|null} what comparing means for a function; null where it means nothing */
  compare = null;
  /** @type {((name: string, mapping: string) => void)|null} opens the source of a function; null where there is none */
  source = null;
  #tooltip = new Tooltip();
  #latest = new Latest();
  #whole = null; // the tree of the whole selection
  #scale = {seconds: 1, unit: 'cores', timeWord: 'CPU-'};
  #question = {};
  #found = null;
  #detailRoot = 0; // the zoomed node of a tree that holds only stacks through it
  #onSelect;
  #lens;

  /**
   * @param {(name: string) => void} onSelect called with the name of the selected frame, "" for none
   * @param {import('./profile_lens.js').Lens} [lens] what the values are
   */
  constructor(onSelect, lens = PROFILE_LENS) {
    this.#onSelect = onSelect;
    this.#lens = lens;
    const acts = {
      select: (node) => this.#choose(node),
      zoom: (node) => this.zoom(node),
      hover: (node, event) => this.#hover(node, event),
    };
    listenToPointer(this.graph, acts);
    listenToKeys(this.graph, acts);
  }

  get tree() {
    return this.graph.tree;
  }

  /** Figures of the search that is on: frames and share; null when there is none. */
  get found() {
    return this.#found;
  }

  /**
   * Show an answer of the lens's route.
   * @param {any} wire
   * @param {import('./describe.js').Scale} scale
   * @param {Record<string, string|number>} question the parameters that asked for it
   */
  show(wire, scale, question) {
    this.#latest.cancel();
    this.#scale = scale;
    this.#question = question;
    this.#whole = layOut(this.#lens.decode(wire));
    byId('graph-skeleton').hidden = true;
    this.#lens.legend(byId('kinds'), this.#whole);
    this.#place(this.#whole, current().root);
  }

  /** Show nothing. */
  clear() {
    this.#whole = null;
    this.#found = null;
    this.graph.clear();
    byId('path').replaceChildren();
    byId('kinds').replaceChildren();
    byId('details').replaceChildren();
    byId('graph-skeleton').hidden = true;
  }

  /** Show `tree` zoomed to a path and with the URL's selected frame; load what is merged there. */
  #place(tree, root) {
    const {node} = findPath(tree, root);
    this.graph.setTree(tree, node, this.#selectedIn(tree));
    this.#after(node);
  }

  #selectedIn(tree) {
    const {node, whole} = findPath(tree, current().frame);
    return whole && current().frame ? node : -1;
  }

  #after(focus) {
    const {tree} = this.graph;
    showPath(byId('path'), tree, focus, (node) => this.zoom(node));
    byId('reset').disabled = focus === 0;
    this.search(current().search);
    this.#describe(this.graph.selected);
    this.#loadDetail(focus);
  }

  /** Zoom to a node of the tree that is shown; Back undoes it. @param {number} node */
  zoom(node) {
    if (node !== this.graph.focus) update({root: pathText(this.tree, node)}, {push: true});
  }

  /** Follow the URL's root. */
  followRoot() {
    if (!this.#whole) return;
    const {root} = current();
    const here = findPath(this.tree, root);
    const inDetail = this.tree !== this.#whole;
    const stays = here.whole && (!inDetail || isWithin(this.tree, here.node, this.#detailRoot));
    if (!stays) {
      this.#place(this.#whole, root);
      return;
    }
    this.graph.zoomTo(here.node);
    this.#after(here.node);
  }

  /** Ask for what was merged below the zoomed frame, and put it in place. */
  async #loadDetail(focus) {
    const signal = this.#latest.next();
    const {root} = current();
    if (!root || !hasMerged(this.tree, focus)) return;
    try {
      const wire = await this.#lens.ask({...this.#question, root}, signal);
      const detail = layOutDetail(this.#lens.decode(wire), this.#whole, root);
      if (!detail || root !== current().root) return;
      this.#detailRoot = detail.focus;
      this.graph.setTree(detail.tree, detail.focus, this.#selectedIn(detail.tree));
      showPath(byId('path'), detail.tree, detail.focus, (step) => this.zoom(step));
      this.search(current().search);
    } catch (failure) {
      if (isDropped(failure)) return;
      if (!(failure instanceof ApiError)) throw failure;
      toast(`Small frames could not be loaded. ${failure.message}`);
    }
  }

  #choose(node) {
    this.graph.select(node);
    update({frame: pathText(this.tree, node)});
    this.#describe(node);
  }

  /** Follow the URL's selected frame. */
  followFrame() {
    if (!this.tree) return;
    this.graph.select(this.#selectedIn(this.tree));
    this.#describe(this.graph.selected);
  }

  /** Select the heaviest frame of a function. @param {string} name @param {string} mapping @returns {boolean} whether it is in view */
  selectFunction(name, mapping) {
    const {tree} = this;
    if (!tree) return false;
    let best = -1;
    for (let i = 1; i < tree.n; i++) {
      const frame = tree.frame[i];
      if (tree.frames.name[frame] !== name || tree.frames.mapping[frame] !== mapping) continue;
      if (best < 0 || tree.total[i] > tree.total[best]) best = i;
    }
    if (best >= 0) this.#choose(best);
    return best >= 0;
  }

  #describe(node) {
    const {tree} = this;
    if (node < 0) {
      showNoDetails(byId('details'));
      this.#onSelect('');
      return;
    }
    const name = tree.frames.name[tree.frame[node]];
    this.#onSelect(name);
    this.#lens.details(byId('details'), tree, node, this.#scale, {
      zoom: () => this.zoom(node),
      search: () => update({search: name}),
      compare: this.compare && (() => this.compare(name)),
      source: this.#sourceOf(tree, node),
      copy: () => navigator.clipboard?.writeText(name).then(() => toast('Name copied.')),
    });
  }

  /** What opens a frame's source: of named code only. */
  #sourceOf({frames, frame}, node) {
    const {name, mapping, kind} = frames;
    const of = frame[node];
    const isCode = !['label', 'pruned', 'unknown'].includes(kind[of]);
    return this.source && isCode ? () => this.source(name[of], mapping[of]) : null;
  }

  #hover(node, event) {
    if (node < 0 || !event) {
      this.#tooltip.hide();
      return;
    }
    const {tree} = this;
    this.#tooltip.show({
      name: tree.frames.name[tree.frame[node]],
      note: frameNote(tree, node),
      facts: this.#lens.facts(tree, node, this.#scale),
    }, event);
  }

  /** Dim all that does not match. @param {string} text */
  search(text) {
    const slot = byId('search-result');
    if (!this.tree) return;
    this.#found = search(this.tree, text);
    this.graph.setMatches(this.#found?.matches ?? null);
    slot.replaceChildren(this.#found ? `${count(this.#found.nodes.length)} · ${percent(this.#found.share, 1)}` : element('kbd', {}, '/'));
  }

  /** Select the next or previous match. @param {1|-1} step */
  stepMatch(step) {
    if (!this.#found) return;
    const node = nextMatch(this.#found.nodes, this.graph.selected, step);
    if (node >= 0) this.#choose(node);
  }
}
