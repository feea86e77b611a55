// Accepting an alert's cost as the baseline cannot be undone, so it asks first.
import {ApiError, send} from '../api.js';
import {byId, element} from '../dom.js';
import {toast} from '../toast.js';
import {keepAuthor, knownAuthor, textField} from './silence_form.js';

/** @param {string} id of the alert @param {(alert: any) => void} done called with the alert as it is then */
export function startAccept(id, done) {
  const dialog = byId('accept-dialog');
  byId('accept').addEventListener('click', () => {
    byId('accept-body').replaceChildren(form(id, (alert) => {
      dialog.close();
      toast('Accepted. This cost is the baseline now.');
      done(alert);
    }));
    dialog.showModal();
  });
  byId('accept-close').addEventListener('click', () => dialog.close());
}

function form(id, done) {
  const author = textField('Your name', knownAuthor());
  const comment = textField('Why', '', 'e.g. the new feature costs this much');
  comment.input.removeAttribute('required');
  const note = element('p', {class: 'form-note', role: 'status'}, 'The alert ends and does not come back for this version. This cannot be undone.');
  const made = element('form', {class: 'form', autocomplete: 'off'}, note, author.label, comment.label, element('button', {type: 'submit', class: 'btn primary'}, 'Accept as baseline'));
  made.addEventListener('submit', async (event) => {
    event.preventDefault();
    keepAuthor(author.input.value);
    try {
      done(await send('POST', `alerts/${encodeURIComponent(id)}/accept`, {author: author.input.value, comment: comment.input.value}));
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      note.textContent = `${failure.message} ${failure.hint}`;
      note.classList.add('bad');
    }
  });
  return made;
}
