/** What is done to torrents: shown at once, told to the daemon, taken back if it refuses. */
import { post } from './api.js';
import { load } from './events.js';
import { t, tn } from './i18n.js';
import { toast } from './toasts.js';
import { expect, settle } from './store.js';

/** What a row shows until the daemon confirms. */
const EXPECTED = {
  pause: { status: 'paused', download_bytes_per_s: 0, upload_bytes_per_s: 0, eta_s: null },
  stop: { status: 'stopped', download_bytes_per_s: 0, upload_bytes_per_s: 0, eta_s: null },
};
const DONE = {
  pause: ['{n} torrent paused', '{n} torrents paused'],
  resume: ['{n} torrent resumed', '{n} torrents resumed'],
  stop: ['{n} torrent stopped', '{n} torrents stopped'],
  start_now: ['{n} torrent started now', '{n} torrents started now'],
  recheck: ['{n} torrent is checked', '{n} torrents are checked'],
  reannounce: ['{n} torrent announced', '{n} torrents announced'],
  remove: ['{n} torrent removed', '{n} torrents removed'],
};
/** What takes an action back. */
const UNDO = { pause: 'resume', resume: 'pause', stop: 'resume' };

/** Show what went wrong. */
export function failed(error) {
  if (error?.name === 'AbortError') return;
  const details = error?.errors?.map((each) => each.detail).join('; ');
  const text = error?.code === 'not_connected' ? t('Not connected to the daemon') : error?.message || String(error);
  toast(details ? `${text}: ${details}` : text, { kind: 'failed' });
}

/** Do something, and show what went wrong. Return whether it went well. */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    failed(error);
    return false;
  }
}

/** The action that runs now: the next one waits, since two requests may pass one another. */
let running = Promise.resolve();

/** Do an action to torrents. */
export function act(action, hashes, args = {}, { isQuiet = false } = {}) {
  const ids = [...hashes];
  if (!ids.length) return false;
  expect(ids, EXPECTED[action] ?? {});
  running = running.then(() => tell(action, ids, args, isQuiet));
  return running;
}

async function tell(action, ids, args, isQuiet) {
  try {
    const told = await post('api/v1/torrents/actions', { action, ids, args });
    for (const each of told.failed.slice(0, 2)) toast(each.detail, { kind: 'failed' });
    if (told.done && !isQuiet && action in DONE) toast(tn(...DONE[action], told.done), { action: undo(action, ids) });
    await load();
    settle(ids);
    return told.failed.length === 0;
  } catch (error) {
    failed(error);
    load({ isFull: true });
    return false;
  }
}

function undo(action, ids) {
  if (!(action in UNDO)) return undefined;
  return { text: t('Undo'), run: () => act(UNDO[action], ids, {}, { isQuiet: true }) };
}
