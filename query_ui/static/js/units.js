// The words for each profile type.

const WORDS = {
  cpu: {title: 'CPU time', unit: 'cores', average: 'cores on average', timeWord: 'CPU-', what: 'of the fleet’s CPU time'},
  runq: {title: 'Run-queue wait', unit: 'threads', average: 'threads waiting for a CPU on average', timeWord: '', what: 'of the fleet’s run-queue wait'},
  offcpu: {title: 'Off-CPU time', unit: 'threads', average: 'threads blocked on average', timeWord: '', what: 'of the fleet’s blocked time'},
  wall: {title: 'Wall time', unit: 'threads', average: 'threads on average', timeWord: '', what: 'of the fleet’s thread time'},
};

/** The names of the types in the order of the menu. */
export const TYPES = Object.keys(WORDS);

/**
 * @param {string} type
 * @returns {typeof WORDS.cpu}
 */
export function wordsFor(type) {
  return WORDS[type] || WORDS.cpu;
}
