/** The bar at the bottom: connection, speeds, limits, alternative speeds, free space. */
import { html, signal, useEffect, useSignal, useSignalEffect } from '../lib.js';
import { attempt } from '../core/actions.js';
import { get, patch } from '../core/api.js';
import { retryAt, retryNow } from '../core/events.js';
import { bytes, fullRate } from '../core/format.js';
import { t, tn } from '../core/i18n.js';
import { connection, may, session, sessionState } from '../core/session.js';
import { settingsRev, stats, torrents, tick } from '../core/store.js';
import { showGlobalLimits } from '../dialogs/limits.js';
import { icon } from '../ui/icons.js';
import { go } from '../core/router.js';

/** Values of the settings by their keys. */
export const settings = signal({});
const disk = signal(null);

async function readSettings() {
  const told = await get('api/v1/settings');
  settings.value = Object.fromEntries(Object.entries(told.settings).map(([key, each]) => [key, each.value]));
}

async function readDisk() {
  const told = await get('api/v1/health');
  disk.value = told.disks[0] || null;
}

/** Switch to the alternative speeds, or back. */
export function toggleAlternative() {
  if (!may('settings')) return false;
  const next = !settings.value['limits.alt_enabled'];
  settings.value = { ...settings.value, 'limits.alt_enabled': next };
  return attempt(async () => {
    await patch('api/v1/settings', { 'limits.alt_enabled': next });
  });
}

const limit = (key) => {
  const name = settings.value['limits.alt_enabled'] ? `limits.alt_${key}_kb_s` : `limits.${key}_kb_s`;
  const value = settings.value[name];
  return value ? bytes(value * 1000) : '';
};

/** When the next try comes, and a button for those who cannot wait. */
function Retry() {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => { now.value = Date.now(); }, 500);
    return () => clearInterval(timer);
  }, []);
  const n = Math.ceil((retryAt.value - now.value) / 1000);
  return html`<span class="number">${n > 0 ? t('again in {n} s', { n }) : t('Trying…')}</span><button type="button" class="plain" onClick=${retryNow}>${t('Try now')}</button>`;
}

/** Return the bar. */
export function StatusBar() {
  useSignalEffect(() => {
    void settingsRev.value;
    if (sessionState.value === 'in' && session.value) attempt(async () => Promise.all([readSettings(), readDisk()]));
  });
  void tick.value;
  const now = stats.value || {};
  const isAlternative = Boolean(settings.value['limits.alt_enabled']);
  const words = { live: t('Connected'), loading: t('Loading…'), waiting: t('Not connected') };
  return html`<footer class="statusbar">
    <span class=${`link ${connection.value}`} role="status"><span class="dot"></span>${words[connection.value]}</span>
    ${connection.value === 'waiting' && html`<${Retry} />`}
    <span class="wide-only">${tn('{n} torrent', '{n} torrents', torrents.size)}</span>
    <span class="wide-only">${tn('{n} peer', '{n} peers', now.peers || 0)}</span>
    <span class="space"></span>
    ${disk.value?.free_bytes !== null && disk.value && html`<span class="wide-only" title=${disk.value.path}>${t('{size} free', { size: bytes(disk.value.free_bytes) })}</span>`}
    <button type="button" class="plain" aria-pressed=${isAlternative} disabled=${!may('settings')} onClick=${toggleAlternative}
      title=${`${t('Alternative speeds')} (Shift+T)`} aria-label=${t('Alternative speeds')}>${icon('turtle')}</button>
    <button type="button" class="plain speeds" onClick=${() => (may('settings') ? showGlobalLimits() : go('health'))} title=${t('Limits…')}>
      <span class="speed down">↓ <b class="number">${fullRate(now.download_bytes_per_s)}</b> <i>${limit('download')}</i></span>
      <span class="speed up">↑ <b class="number">${fullRate(now.upload_bytes_per_s)}</b> <i>${limit('upload')}</i></span></button>
  </footer>`;
}

