// The profile's wire format (collector/query/flame.py, to_wire) to columns.

const KIND_NAMES = {1: 'native', 2: 'kernel', 3: 'python', 4: 'jvm', 5: 'node', 6: 'go', 7: 'rust', 8: 'jit', 9: 'label'};
const PRUNED = '(pruned)';

/**
 * @param {any} wire
 * @returns {{n: number, frame: Int32Array, depth: Uint16Array, self: Float64Array, whole: number, frames: import('./layout.js').Frames}}
 */
export function decode(wire) {
  const kind = wire.kinds.map((number, index) => kindName(number, wire.known[index], wire.names[index]));
  const name = wire.names.map((text) => (text === '(all)' ? 'all' : text));
  return {
    n: wire.name.length,
    frame: Int32Array.from(wire.name),
    depth: Uint16Array.from(wire.depth),
    self: Float64Array.from(wire.self),
    whole: wire.whole,
    frames: {
      name,
      label: name.map((text, index) => shortName(text, kind[index])),
      kind,
      mapping: wire.mappings.map((index) => wire.mapping_names[index]),
      location: wire.files,
    },
  };
}

/**
 * What is written on a frame: a function without a name is its file and offset, of which the folder says least.
 * @param {string} name
 * @param {string} kind
 * @returns {string}
 */
export function shortName(name, kind) {
  return kind === 'unknown' ? name.slice(name.lastIndexOf('/') + 1) : name;
}

function kindName(kind, known, name) {
  if (kind === 9) return name === PRUNED ? 'pruned' : 'label';
  return known ? KIND_NAMES[kind] || 'unknown' : 'unknown';
}
