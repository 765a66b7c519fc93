/**
 * What the daemon tells: torrents, totals, labels, categories and jobs. A delta replaces the row
 * objects that it changes, so that one comparison tells whether a row is to be drawn again.
 */
import { batch, signal } from '../lib.js';

/** @typedef {Record<string, any> & {hash: string, name: string, status: string}} Row */

/** @type {Map<string, Row>} */
export const torrents = new Map();
/** How many rows each facet has, such as "status:seeding" or "label:iso". */
export const counts = new Map();
/** Counts up with every change of a torrent. */
export const tick = signal(0);
export const stats = signal(null);
export const labels = signal({});
export const categories = signal({});
/** @type {{value: Map<string, any>}} */
export const jobs = signal(new Map());
export const settingsRev = signal(null);
/** Whether all pages of the first load are here. */
export const isLoaded = signal(false);
/** The revision that this tab has. */
export let revision = null;
/** Called with the changes of each delta: {changed: [old, new][], removed: Row[], isFull}. */
export const listeners = new Set();

const ACTIVE = 1; // byte per second

/** Return the facets of a row: what the filters on the left count. */
export function facetsOf(row) {
  const found = ['all', `status:${groupOf(row)}`];
  if (row.download_bytes_per_s >= ACTIVE || row.upload_bytes_per_s >= ACTIVE) found.push('status:active');
  if (row.is_stalled) found.push('status:stalled');
  if (row.progress >= 1) found.push('status:complete');
  found.push(`category:${row.category || ''}`, `tracker:${row.tracker_host || ''}`);
  if (row.labels.length === 0) found.push('label:');
  for (const label of row.labels) found.push(`label:${label}`);
  return found;
}

const GROUPS = {
  downloading: 'downloading', metadata: 'downloading', download_queued: 'queued', seed_queued: 'queued',
  check_queued: 'checking', checking: 'checking', seeding: 'seeding', paused: 'paused', stopped: 'paused',
  finished: 'paused', error: 'error',
};

/** Return the filter to which a status belongs. */
export function groupOf(row) {
  return row.error && row.status !== 'seeding' && row.status !== 'downloading' ? 'error' : GROUPS[row.status] ?? 'paused';
}

function count(row, step) {
  for (const facet of facetsOf(row)) {
    const now = (counts.get(facet) || 0) + step;
    if (now) counts.set(facet, now);
    else counts.delete(facet);
  }
}

function putRow(row, changed) {
  const old = torrents.get(row.hash);
  if (old) count(old, -1);
  count(row, 1);
  torrents.set(row.hash, row);
  changed.push([old, row]);
}

/** Forget all that was told, as for another user. */
export function clearStore() {
  torrents.clear();
  counts.clear();
  revision = null;
  batch(() => {
    isLoaded.value = false;
    stats.value = null;
    jobs.value = new Map();
    tick.value += 1;
  });
  for (const listen of listeners) listen({ changed: [], removed: [], isFull: true });
}

/**
 * Take in an answer of sync.
 * @param {any} told
 * @param {{isLaterPage?: boolean}} [options] a later page of a full answer adds to the first
 */
export function takeSync(told, { isLaterPage = false } = {}) {
  const changed = [];
  const removed = [];
  const isFull = told.full && !isLaterPage;
  if (isFull) {
    torrents.clear();
    counts.clear();
  }
  for (const [hash, fields] of Object.entries(told.torrents || {})) {
    const old = torrents.get(hash);
    if (old || 'name' in fields) putRow({ ...old, hash, ...fields, is_pending: false }, changed);
  }
  for (const hash of told.removed || []) {
    const old = torrents.get(hash);
    if (!old) continue;
    count(old, -1);
    torrents.delete(hash);
    removed.push(old);
  }
  if (!isLaterPage) revision = told.rev;
  for (const listen of listeners) listen({ changed, removed, isFull });
  batch(() => {
    if (changed.length || removed.length || isFull) tick.value += 1;
    takeGeneral(told);
    if (told.full && !told.next) isLoaded.value = true;
  });
}

function takeGeneral(told) {
  if (told.stats) stats.value = told.stats;
  if (told.labels) labels.value = told.labels;
  if (told.categories) categories.value = told.categories;
  if (told.settings_rev !== undefined) settingsRev.value = told.settings_rev;
  if (told.jobs?.length || told.jobs_removed?.length) takeJobs(told.jobs, told.jobs_removed, told.full);
}

/** Take in jobs that changed. */
export function takeJobs(changed = [], removed = [], isFull = false) {
  const next = isFull ? new Map() : new Map(jobs.value);
  for (const job of changed) next.set(job.id, job);
  for (const id of removed) next.delete(id);
  jobs.value = next;
}

/** Show a change before the daemon confirms it; the next delta has the last word. */
export function expect(hashes, fields) {
  const changed = [];
  for (const hash of hashes) {
    const old = torrents.get(hash);
    if (old) putRow({ ...old, ...fields, is_pending: true }, changed);
  }
  for (const listen of listeners) listen({ changed, removed: [], isFull: false });
  tick.value += 1;
}

/** Show rows as confirmed. */
export function settle(hashes) {
  const changed = [];
  for (const hash of hashes) {
    const old = torrents.get(hash);
    if (old?.is_pending) putRow({ ...old, is_pending: false }, changed);
  }
  if (changed.length) tick.value += 1;
}
