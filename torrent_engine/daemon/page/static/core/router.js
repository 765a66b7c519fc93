/** What the page shows, by the part of the address behind "#". */
import { computed, signal } from '../lib.js';

const PAGES = new Set(['settings', 'jobs', 'health', 'log', 'add']);
const place = signal(location.hash);
window.addEventListener('hashchange', () => {
  place.value = location.hash;
});

/** @type {{value: {page: string, hash: string, tab: string, uri: string}}} */
export const route = computed(() => {
  const [path, search = ''] = place.value.replace(/^#\/?/, '').split('?');
  const [first, second = '', third = ''] = path.split('/');
  const none = { page: '', hash: '', tab: '', uri: '' };
  if (first === 't' && /^[0-9a-f]{40}$/.test(second)) return { ...none, hash: second, tab: third };
  if (first === 'add') return { ...none, page: 'add', uri: new URLSearchParams(search).get('uri') || '' };
  return PAGES.has(first) ? { ...none, page: first, tab: second } : none;
});

/** Go to a place, such as "t/HASH/files"; without a new step of the history if asked so. */
export function go(path, { replace = false } = {}) {
  const address = `#/${path}`;
  if (location.hash === address) return;
  if (replace) history.replaceState(null, '', address);
  else history.pushState(null, '', address);
  place.value = address;
}
window.addEventListener('popstate', () => {
  place.value = location.hash;
});
