// A link to exactly this view.
import {toast} from './toast.js';

/**
 * Copy a link; where the browser refuses, put it into the address bar.
 * @param {URL} link
 * @param {() => void} instead
 */
export async function copyLink(link, instead) {
  try {
    await navigator.clipboard.writeText(link.href);
    toast('Link copied. It opens exactly this view.');
  } catch (refused) {
    console.debug('clipboard refused', refused);
    instead();
    toast('The address bar now holds a link to exactly this view.');
  }
}
