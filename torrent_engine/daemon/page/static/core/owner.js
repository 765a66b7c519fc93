/**
 * This tab as an owner: what it only looks at goes with it. The daemon counts its generations; a tab
 * that is loaded again begins a new one, so that the previews of the page before are cancelled.
 */
import { csrfToken, post, put, url } from './api.js';

const KEY = 'te.owner';
const LEASE_S = 60;
const RENEW_MS = 20_000;
let tie = null;
let renewal = 0;

function newId() {
  const octets = crypto.getRandomValues(new Uint8Array(12));
  return `tab-${[...octets].map((each) => each.toString(16).padStart(2, '0')).join('')}`;
}

/** Return the id of this tab; one that is made is kept over reloads. */
function ownId() {
  try {
    const id = sessionStorage.getItem(KEY) || newId();
    sessionStorage.setItem(KEY, id);
    return id;
  } catch {
    return newId(); // without storage each page is a tab of its own
  }
}

async function begin() {
  const id = ownId();
  const { generation } = await post(`api/v1/owners/${id}/generation`, { lease_s: LEASE_S });
  clearInterval(renewal);
  renewal = setInterval(() => put(`api/v1/owners/${id}/lease`, {}).catch(() => {}), RENEW_MS);
  return { id, generation };
}

/** Return the owner as requests name it; callers at the same time share one generation. */
export function owner() {
  tie ??= begin().catch((error) => {
    tie = null;
    throw error;
  });
  return tie;
}

/** End what the page before a reload left in this tab. */
export function renewOwner() {
  try {
    if (!tie && sessionStorage.getItem(KEY)) owner().catch(() => {});
  } catch {
    /* without storage nothing was kept */
  }
}

/** Forget the owner, as after a logout, which ends what it had. */
export function forgetOwner() {
  clearInterval(renewal);
  tie = null;
}

window.addEventListener('pagehide', () => {
  if (!tie) return;
  const id = ownId();
  navigator.sendBeacon(url(`api/v1/owners/${id}/bye?csrf=${encodeURIComponent(csrfToken.value)}`));
  forgetOwner();
});
