/** Short messages: what was done, with a way back, and what failed. */
import { signal } from '../lib.js';

/** @typedef {{id: number, text: string, kind: 'done' | 'failed', action?: {text: string, run: () => void}}} Toast */

/** @type {{value: Toast[]}} */
export const toasts = signal([]);
const DONE_MS = 8_000;
const FAILED_MS = 15_000;
let number = 0;

/** Show a message for a while. */
export function toast(text, { kind = 'done', action } = {}) {
  const id = ++number;
  toasts.value = [...toasts.value.slice(-3), { id, text, kind, action }];
  setTimeout(() => dismiss(id), kind === 'done' ? DONE_MS : FAILED_MS);
  return id;
}

/** Take a message away. */
export function dismiss(id) {
  toasts.value = toasts.value.filter((each) => each.id !== id);
}
