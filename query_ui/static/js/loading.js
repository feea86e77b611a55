// What a part of the page shows while it waits: nothing, then its old content dimmed, then words and Cancel.
import {button, element} from './dom.js';

const DIM_AFTER_MS = 100;
const SAY_AFTER_MS = 2000;

/**
 * Wait for `answer` and show that it takes long.
 * @template T
 * @param {HTMLElement[]} dimmed parts that show the answer to the question before
 * @param {HTMLElement} slot where the words go (they are added at its end)
 * @param {() => void} cancel
 * @param {Promise<T>} answer
 * @param {AbortSignal} signal when it fires, a newer question owns the dimming
 * @returns {Promise<T>}
 */
export async function waitFor(dimmed, slot, cancel, answer, signal) {
  const words = element('span', {class: 'slow', role: 'status'}, 'Still loading …', button('Cancel', cancel));
  const timers = [
    setTimeout(() => dimmed.forEach((part) => part.classList.add('stale')), DIM_AFTER_MS),
    setTimeout(() => slot.append(words), SAY_AFTER_MS),
  ];
  const settle = () => {
    timers.forEach(clearTimeout);
    words.remove();
  };
  signal.addEventListener('abort', settle);
  try {
    return await answer;
  } finally {
    settle();
    if (!signal.aborted || !dimmed.length) dimmed.forEach((part) => part.classList.remove('stale'));
  }
}
