/** What this browser remembers: looks and columns, never credentials. */
import { signal, effect } from '../lib.js';

const KEY = 'te.prefs';
const DEFAULTS = {
  theme: 'auto',
  language: 'auto',
  dense: true,
  binary: false,
  keys: true,
  notify: false,
  sidebar: true,
  panel: 'overview',
  sort: [{ key: 'added_at', down: true }],
  columns: ['name', 'size', 'progress', 'status', 'down', 'up', 'eta', 'ratio', 'peers', 'added_at'],
};

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY) || '{}');
  } catch {
    return {};
  }
}

const stored = read();
/** @type {Record<string, import('../vendor/signals-core.mjs').Signal>} one signal for each preference */
export const prefs = Object.fromEntries(
  Object.entries(DEFAULTS).map(([key, value]) => [
    key,
    signal(typeof stored[key] === typeof value && Array.isArray(stored[key]) === Array.isArray(value) ? stored[key] : value),
  ]),
);

/** Whether a preference has not been changed. */
export const hasUsual = (key) => String(prefs[key].value) === String(DEFAULTS[key]);

effect(() => {
  const values = Object.fromEntries(Object.keys(DEFAULTS).map((key) => [key, prefs[key].value]));
  try {
    localStorage.setItem(KEY, JSON.stringify(values));
  } catch {
    /* private windows have no storage; the page works without */
  }
});
