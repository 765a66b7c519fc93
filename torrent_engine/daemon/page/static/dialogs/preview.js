/** The files of a magnet link before it is added: a peer sends the metadata, and nothing else. */
import { html, useEffect, useSignal } from '../lib.js';
import { del, get, post } from '../core/api.js';
import { t } from '../core/i18n.js';
import { owner } from '../core/owner.js';
import { may } from '../core/session.js';

const POLL_MS = 1000;

/** Begin a preview, and wait for its files. Return a function that ends it. */
function preview(source, take, fail) {
  let timer = 0;
  let isOver = false;
  let id = null;
  const look = async () => {
    const told = await get(`api/v1/previews/${id}`);
    if (isOver) return;
    if (told.torrent) take(told.torrent);
    else if (told.error) fail(told.error);
    else timer = setTimeout(() => look().catch(gone), POLL_MS);
  };
  const gone = (problem) => {
    if (!isOver) fail(problem.message);
  };
  const begin = async () => {
    const told = await post('api/v1/previews', { source, owner: await owner() });
    id = told.id;
    if (!id) return; // a torrent that was added before
    if (isOver) await end();
    else await look();
  };
  const end = () => del(`api/v1/previews/${id}`).catch(() => {}); // it may have been added
  begin().catch(gone);
  return () => {
    isOver = true;
    clearTimeout(timer);
    if (id) end();
  };
}

/** Return what is said of a magnet link until its files are known; the preview ends with it. */
export function MagnetPreview({ source, isKnown, take }) {
  const error = useSignal('');
  const canLook = may('control') && !/^https?:/i.test(source);
  useEffect(() => (canLook ? preview(source, take, (text) => { error.value = text; }) : undefined), []);
  if (isKnown) return null;
  const text = canLook ? t('Asking peers for the list of files…') : t('The files are known when a peer has sent the metadata.');
  return html`<p class="hint" role="status">${error.value || text}</p>`;
}
