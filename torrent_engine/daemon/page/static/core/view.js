/**
 * Which torrents are listed, and in which order. A delta moves only the rows that it changed: they
 * are taken out and merged in again, so that 10,000 rows cost a few comparisons.
 */
import { computed, signal, untracked } from '../lib.js';
import { facetsOf, listeners, torrents } from './store.js';
import { prefs } from './prefs.js';

/** Facet that is shown, such as "all" or "label:iso". */
export const facet = signal('all');
/** Text that names must have. */
export const query = signal('');
/** Hashes in their order. */
export const order = signal([]);
/** Whether any filter is on. */
export const isFiltered = computed(() => facet.value !== 'all' || query.value.trim() !== '');

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });
const byName = (row) => row.name;
const DAYS_100_YEARS = 3.2e9;
/** What a column sorts by. */
const KEYS = {
  name: byName,
  size: (row) => row.total_bytes,
  progress: (row) => row.progress,
  status: (row) => row.status,
  down: (row) => row.download_bytes_per_s,
  up: (row) => row.upload_bytes_per_s,
  eta: (row) => row.eta_s ?? DAYS_100_YEARS,
  ratio: (row) => row.ratio ?? -1,
  peers: (row) => row.peers,
  seeds: (row) => row.seeds,
  left: (row) => row.left_bytes,
  downloaded: (row) => row.downloaded_bytes,
  uploaded: (row) => row.uploaded_bytes,
  category: (row) => row.category || '',
  labels: (row) => row.labels.join(' '),
  tracker: (row) => row.tracker_host || '',
  save_path: (row) => row.save_path,
  queue: (row) => row.queue_position,
  added_at: (row) => row.added_at || '',
  completed_at: (row) => row.completed_at || '',
  activity_at: (row) => row.activity_at || '',
};
export const SORTABLE = Object.keys(KEYS);

function compareValues(a, b) {
  if (typeof a === 'string') return collator.compare(a, b);
  return a - b;
}

function comparer() {
  const rules = prefs.sort.value.filter(({ key }) => key in KEYS);
  return (a, b) => {
    for (const { key, down } of rules) {
      const found = compareValues(KEYS[key](a), KEYS[key](b));
      if (found) return down ? -found : found;
    }
    return a.id - b.id;
  };
}

function tester() {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = facet.value;
  return (row) => {
    if (wanted !== 'all' && !facetsOf(row).includes(wanted)) return false;
    if (!words.length) return true;
    const text = row.name.toLowerCase();
    return words.every((word) => text.includes(word)) || row.hash === words[0];
  };
}

/** Find and sort all rows anew, as after a change of filters. */
export function rebuild() {
  const passes = tester();
  const rows = [];
  for (const row of torrents.values()) if (passes(row)) rows.push(row);
  order.value = rows.sort(comparer()).map((row) => row.hash);
}

function moveChanged(changed, removed) {
  const passes = tester();
  const compare = comparer();
  const moving = new Set(removed.map((row) => row.hash));
  const incoming = [];
  for (const [old, row] of changed) {
    const wasIn = old !== undefined && passes(old);
    const isIn = passes(row);
    if (wasIn === isIn && (!isIn || compare(old, row) === 0)) continue;
    moving.add(row.hash);
    if (isIn) incoming.push(row);
  }
  if (!moving.size) return;
  incoming.sort(compare);
  order.value = merged(untracked(() => order.value), moving, incoming, compare);
}

function merged(hashes, moving, incoming, compare) {
  const result = [];
  let next = 0;
  for (const hash of hashes) {
    if (moving.has(hash)) continue;
    const row = torrents.get(hash);
    if (!row) continue;
    while (next < incoming.length && compare(incoming[next], row) < 0) result.push(incoming[next++].hash);
    result.push(hash);
  }
  while (next < incoming.length) result.push(incoming[next++].hash);
  return result;
}

listeners.add(({ changed, removed, isFull }) => {
  if (isFull || changed.length > torrents.size / 4) rebuild();
  else moveChanged(changed, removed);
});

/** Sort by a column; again: the other way round; with `isNext`: after the present ones. */
export function sortBy(key, isNext = false) {
  const present = prefs.sort.value;
  const at = present.findIndex((each) => each.key === key);
  const down = at >= 0 ? !present[at].down : !['name', 'category', 'status', 'tracker', 'queue', 'eta'].includes(key);
  const others = present.filter((each) => each.key !== key);
  prefs.sort.value = isNext ? [...others, { key, down }] : [{ key, down }];
  rebuild();
}

/** Show one facet; the same again: all. */
export function showFacet(name) {
  facet.value = facet.value === name ? 'all' : name;
  rebuild();
}

/** Look for a text. */
export function search(text) {
  query.value = text;
  rebuild();
}
