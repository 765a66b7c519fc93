/** Which rows are selected, which one has the focus, and which one the details show. */
import { computed, signal } from '../lib.js';
import { listeners, tick, torrents } from './store.js';
import { order } from './view.js';

/** @type {{value: Set<string>}} */
export const selected = signal(new Set());
/** The row of the keyboard. */
export const cursor = signal('');
let anchor = '';

/** The selected rows, in the order of the list. */
export const selectedRows = computed(() => {
  void tick.value; // rows are replaced by what changes them
  const chosen = selected.value;
  if (chosen.size === 0) return [];
  if (chosen.size === 1) return [...chosen].map((hash) => torrents.get(hash)).filter(Boolean);
  return order.value.filter((hash) => chosen.has(hash)).map((hash) => torrents.get(hash)).filter(Boolean);
});

/** Select one row only. */
export function selectOnly(hash) {
  anchor = hash;
  cursor.value = hash;
  selected.value = new Set(hash ? [hash] : []);
}

/** Select or unselect one row more. */
export function toggle(hash) {
  const next = new Set(selected.value);
  if (!next.delete(hash)) next.add(hash);
  anchor = hash;
  cursor.value = hash;
  selected.value = next;
}

/** Select from where the last selection began. */
export function extendTo(hash) {
  const hashes = order.value;
  const from = Math.max(0, hashes.indexOf(anchor));
  const to = hashes.indexOf(hash);
  if (to < 0) return;
  cursor.value = hash;
  selected.value = new Set(hashes.slice(Math.min(from, to), Math.max(from, to) + 1));
}

/** Select all that are listed. */
export function selectAll() {
  selected.value = new Set(order.value);
}

/** Select nothing. */
export function selectNone() {
  if (selected.value.size) selected.value = new Set();
}

/** Move the cursor by some rows; the selection follows, or grows. */
export function moveCursor(step, { isExtending = false, isKeeping = false } = {}) {
  const hashes = order.value;
  if (!hashes.length) return;
  const at = hashes.indexOf(cursor.value);
  const next = at < 0 ? (step > 0 ? 0 : hashes.length - 1) : Math.min(Math.max(at + step, 0), hashes.length - 1);
  if (isExtending) extendTo(hashes[next]);
  else if (isKeeping) cursor.value = hashes[next];
  else selectOnly(hashes[next]);
}

listeners.add(({ removed, isFull }) => {
  if (!selected.value.size || !(removed.length || isFull)) return;
  const next = new Set([...selected.value].filter((hash) => torrents.has(hash)));
  if (next.size !== selected.value.size) selected.value = next;
});
