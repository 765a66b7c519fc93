/** Who is logged in: found out once for all callers, by the cookie first, and the same in all tabs. */
import { signal } from '../lib.js';
import { ask, csrfToken, hooks, Problem } from './api.js';

const MIN_INTERVAL_MS = 2000;
/** Whether the changes are followed.
 * @type {{value: 'loading' | 'live' | 'waiting'}} */
export const connection = signal('loading');
/** @type {{value: 'unknown' | 'in' | 'out' | 'offline'}} */
export const sessionState = signal('unknown');
/** @type {{value: {user: string, scopes: string[], epoch: string} | null}} */
export const session = signal(null);

const tabs = 'BroadcastChannel' in window ? new BroadcastChannel('te-session') : null;
let flight = null;
let lastTryAt = -Infinity;

/**
 * Return whether somebody is logged in. Callers at the same time share one request, and for two
 * seconds its answer.
 */
export function ensureSession({ force = false } = {}) {
  if (flight) return flight;
  if (!force && performance.now() - lastTryAt < MIN_INTERVAL_MS) {
    return Promise.resolve(sessionState.value === 'in');
  }
  flight = begin().finally(() => {
    flight = null;
    lastTryAt = performance.now();
  });
  return flight;
}

async function begin() {
  const ticket = takeTicket();
  try {
    if (ticket) {
      await accept(await ask('POST', 'api/v1/session', { json: { ticket } }));
      tabs?.postMessage('in');
    } else await accept(await ask('GET', 'api/v1/session'));
    return true;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) {
      if (ticket) return begin();
      leave();
    } else if (sessionState.value === 'unknown') sessionState.value = 'offline';
    return false;
  }
}

/** Take the one-time ticket out of the address; it is never sent as part of one. */
function takeTicket() {
  const match = /^#ticket=([\w-]+)$/.exec(location.hash);
  if (match) history.replaceState(null, '', location.pathname + location.search);
  return match?.[1];
}

async function accept(value) {
  csrfToken.value = value.csrf_token || '';
  session.value = value;
  sessionState.value = 'in';
}

function leave() {
  csrfToken.value = '';
  session.value = null;
  sessionState.value = 'out';
}

/** Log in with a password or token; throws the problem if it is wrong. */
export async function logIn(user, password) {
  const json = user ? { user, password } : { password };
  await accept(await ask('POST', 'api/v1/session', { json }));
  tabs?.postMessage('in');
}

/** Log out, in all tabs. */
export async function logOut() {
  try {
    await ask('DELETE', 'api/v1/session');
  } finally {
    leave();
    tabs?.postMessage('out');
  }
}

/** Whether the user may do something now; without the daemon that is nothing. */
export const may = (scope) => connection.value !== 'waiting' && (session.value?.scopes.includes(scope) ?? false);

hooks.refresh = () => ensureSession({ force: true });
hooks.lost = () => {
  if (sessionState.value === 'in') leave();
};
if (tabs) {
  tabs.onmessage = ({ data }) => {
    if (data === 'out') leave();
    else if (sessionState.value !== 'in') ensureSession({ force: true });
  };
}
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && sessionState.value !== 'out') ensureSession();
});
