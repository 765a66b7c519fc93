/** Notifications of the system, and the title of the tab. */
import { effect } from '../lib.js';
import { rate } from './format.js';
import { isLeader } from './events.js';
import { t } from './i18n.js';
import { prefs } from './prefs.js';
import { listeners, stats } from './store.js';
import { toast } from './toasts.js';

const TOLD_MS = 5_000;
let lastAt = -Infinity;

/** Ask whether notifications may be shown; return whether they may. */
export async function askToNotify() {
  if (!('Notification' in window)) {
    toast(t('This browser shows no notifications here'), { kind: 'failed' });
    return false;
  }
  const answer = await Notification.requestPermission();
  if (answer !== 'granted') toast(t('The browser does not allow notifications'), { kind: 'failed' });
  return answer === 'granted';
}

function tell(text, kind) {
  if (performance.now() - lastAt > TOLD_MS) toast(text, { kind });
  lastAt = performance.now();
  if (prefs.notify.value && isLeader.value && 'Notification' in window && Notification.permission === 'granted') new Notification('torrent_engine', { body: text, tag: text });
}

/** Tell of torrents that are complete or failed. */
export function listenForNews() {
  listeners.add(({ changed, isFull }) => {
    if (isFull || changed.length > 200) return;
    for (const [old, row] of changed) {
      if (!old) continue;
      if (old.progress < 1 && row.progress >= 1 && row.total_bytes > 0 && old.status !== 'checking') tell(t('{name} is complete', { name: row.name }), 'done');
      else if (old.status !== 'error' && row.status === 'error') tell(`${row.name}: ${row.error?.message || t('Error')}`, 'failed');
    }
  });
  effect(() => {
    const now = stats.value;
    const speeds = now ? [now.download_bytes_per_s && `↓ ${rate(now.download_bytes_per_s)}`, now.upload_bytes_per_s && `↑ ${rate(now.upload_bytes_per_s)}`].filter(Boolean) : [];
    document.title = [...speeds, 'torrent_engine'].join(' · ');
  });
}
