/**
 * The stream of changes. One tab of a browser holds it (Web Locks) and gives what it hears to the
 * others (BroadcastChannel); a tab that missed something asks for the difference itself.
 */
import { signal } from '../lib.js';
import { get, url } from './api.js';
import { connection, ensureSession, sessionState } from './session.js';
import { clearStore, revision, stats, takeJobs, takeSync } from './store.js';

const PAGE = 2000;
const HIDDEN_MS = 60_000;
const RETRY_MS = 2_000;
const MAX_RETRY_MS = 8_000;
/** When the next try to connect comes, in milliseconds of the clock. */
export const retryAt = signal(0);
/** Whether this tab holds the stream. */
export const isLeader = signal(false);
/** Query that ties the stream to an owner, so that its lease lives as long as the tab. */
let source = null;
let release = null;
let isRunning = false;
let retryMs = RETRY_MS;
let retryTimer = 0;
let loading = null;
const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('te-sync') : null;

/** Load everything, page by page, then follow the changes. */
export async function start() {
  if (isRunning) return;
  isRunning = true;
  await load();
  lead();
}

/** Stop following, as after a logout. */
export function stop() {
  isRunning = false;
  clearTimeout(retryTimer);
  close();
  release?.();
  clearStore();
}

/** Bring this tab up to date; callers at the same time share one request. */
export function load({ isFull = false } = {}) {
  loading ??= loadNow(isFull).finally(() => {
    loading = null;
  });
  return loading;
}

async function loadNow(isFull) {
  try {
    const since = revision && !isFull ? `&since=${revision}` : '';
    let told = await get(`api/v1/sync?limit=${PAGE}${since}`);
    takeSync(told);
    while (told.next) {
      told = await get(`api/v1/sync?limit=${PAGE}&cursor=${told.next}`);
      takeSync(told, { isLaterPage: true });
    }
    retryMs = RETRY_MS;
    if (!isLeader.value) connection.value = 'live';
  } catch {
    if (isRunning) later();
  }
}

function later() {
  const message = { kind: 'state', value: 'waiting', at: Date.now() + retryMs };
  take(message);
  if (isLeader.value) tabs?.postMessage(message);
  clearTimeout(retryTimer);
  retryTimer = setTimeout(retry, retryMs);
}

/** Try to connect now; the tab with the stream does it for all. */
export function retryNow() {
  retryMs = RETRY_MS;
  if (!isLeader.value) tabs?.postMessage({ kind: 'retry' });
  retry();
}

async function retry() {
  clearTimeout(retryTimer);
  retryAt.value = 0;
  retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
  if (!isRunning) return;
  await ensureSession({ force: true });
  if (sessionState.value === 'out') return;
  await load();
  if (isLeader.value && !source) open();
}

// -- the leader ---------------------------------------------------------------------------------

function lead() {
  if (!navigator.locks) {
    isLeader.value = true; // without a secure context there are no locks: each tab has its stream
    open();
    return;
  }
  navigator.locks.request('te-events', () => {
    if (!isRunning || document.hidden) return null;
    isLeader.value = true;
    open();
    return new Promise((resolve) => {
      release = () => {
        isLeader.value = false;
        release = null;
        resolve(null);
      };
    });
  });
}

function open() {
  close();
  if (!revision) return;
  source = new EventSource(url(`api/v1/events?types=torrents,jobs,stats&since=${revision}`));
  source.onopen = () => {
    retryMs = RETRY_MS;
    told({ kind: 'state', value: 'live' });
  };
  for (const kind of ['sync', 'job', 'jobs_removed', 'stats', 'reset', 'bye']) {
    source.addEventListener(kind, ({ data }) => told({ kind, value: JSON.parse(data), before: revision }));
  }
  source.onerror = () => {
    close();
    later();
  };
}

function close() {
  source?.close();
  source = null;
}

/** Take in an event of the stream here, and give it to the other tabs. */
function told(message) {
  take(message);
  tabs?.postMessage(message);
}

function take({ kind, value, at }) {
  if (kind === 'state') {
    connection.value = value;
    if (at) retryAt.value = at;
    return;
  }
  if (kind === 'sync') {
    connection.value = 'live';
    takeSync(value);
  } else if (kind === 'job') takeJobs([value]);
  else if (kind === 'jobs_removed') takeJobs([], value);
  else if (kind === 'stats') stats.value = value;
  else if (kind === 'reset') load({ isFull: true });
  else if (kind === 'bye' && isLeader.value) {
    close();
    later();
  }
}

if (tabs) {
  tabs.onmessage = ({ data }) => {
    if (!isRunning) return;
    if (isLeader.value) {
      if (data.kind === 'retry' && !source) retryNow();
      return;
    }
    const isGap = data.kind === 'sync' && !data.value.full && data.before !== revision;
    if (isGap) load();
    else if (data.kind !== 'reset') take(data);
    else load({ isFull: true });
  };
}

// -- hidden tabs --------------------------------------------------------------------------------

let hiddenTimer = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiddenTimer);
  if (!isRunning) return;
  if (document.hidden) {
    hiddenTimer = setTimeout(rest, HIDDEN_MS);
  } else {
    load().then(() => {
      if (!isLeader.value) lead();
      else if (!source) open();
    });
  }
});

/** Give the stream to a tab that is seen. */
function rest() {
  close();
  if (release) release();
}

setInterval(() => {
  if (isRunning && !document.hidden && connection.value === 'live') load(); // against silent loss
}, 60_000);
