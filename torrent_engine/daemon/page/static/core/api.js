/** Requests to the daemon: one address, one CSRF token, problems as errors. */
import { signal } from '../lib.js';

/** The folder in which the page lies, also behind a proxy with a path of its own. */
export const BASE = new URL('.', document.baseURI).href;
/** The one source of the CSRF token. */
export const csrfToken = signal('');
/** Called when a session is gone or its token is old; set by the session. */
export const hooks = { refresh: async () => false, lost: () => {} };

/** What the daemon answers instead of what was asked. */
export class Problem extends Error {
  constructor(status, value) {
    super(value?.detail || value?.title || `HTTP ${status}`);
    this.status = status;
    this.code = value?.code || 'unknown';
    /** @type {{pointer: string, detail: string}[]} */
    this.errors = value?.errors || [];
  }
}

/** Return the address of a path of the daemon. */
export const url = (path) => new URL(path.replace(/^\//, ''), BASE).href;

/**
 * Ask the daemon; a token that is old is renewed once, silently.
 * @param {string} method
 * @param {string} path below the page, such as "api/v1/torrents"
 * @param {{json?: unknown, body?: BodyInit, type?: string, raw?: boolean, headers?: object, signal?: AbortSignal}} [options]
 */
export async function ask(method, path, options = {}) {
  const response = await send(method, path, options);
  if (response.status === 403 && (await codeOf(response)) === 'csrf_invalid' && (await hooks.refresh())) {
    return result(await send(method, path, options), options);
  }
  return result(response, options);
}

async function send(method, path, options) {
  const headers = { ...options.headers };
  if (options.json !== undefined) headers['Content-Type'] = 'application/json';
  else if (options.type) headers['Content-Type'] = options.type;
  if (method !== 'GET') headers['X-CSRF-Token'] = csrfToken.value;
  const body = options.json === undefined ? options.body : JSON.stringify(options.json);
  try {
    return await fetch(url(path), { method, headers, body, credentials: 'same-origin', signal: options.signal });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { code: 'not_connected', detail: 'not connected' });
  }
}

async function codeOf(response) {
  try {
    return (await response.clone().json()).code;
  } catch {
    return '';
  }
}

async function result(response, options) {
  if (response.ok) {
    if (options.raw) return response;
    return response.status === 204 ? null : response.json();
  }
  let value = null;
  try {
    value = await response.json();
  } catch {
    /* an answer of a proxy */
  }
  if (response.status === 401 && !isLogin(response.url)) hooks.lost();
  throw new Problem(response.status, value);
}

const isLogin = (address) => address.endsWith('/api/v1/session');

export const get = (path, options) => ask('GET', path, options);
export const post = (path, json, options) => ask('POST', path, { ...options, json });
export const patch = (path, json) => ask('PATCH', path, { json });
export const put = (path, json) => ask('PUT', path, { json });
export const del = (path) => ask('DELETE', path);
