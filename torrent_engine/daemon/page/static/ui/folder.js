/** A field for a folder of the daemon's machine, with the folders there are and their free space. */
import { html, useEffect, useSignal } from '../lib.js';
import { get } from '../core/api.js';
import { bytes } from '../core/format.js';
import { t } from '../core/i18n.js';

const WAIT_MS = 250;

/** Return the field; `path` is a signal. */
export function FolderField({ text, path, hint = '' }) {
  const known = useSignal({ folders: [], free_bytes: null });
  useEffect(() => {
    const timer = setTimeout(async () => {
      try {
        if (path.value) known.value = await get(`api/v1/paths?path=${encodeURIComponent(path.value)}`);
        else known.value = { folders: (await get('api/v1/paths')).roots.map((each) => ({ path: each })), free_bytes: null };
      } catch {
        known.value = { ...known.value, free_bytes: null };
      }
    }, WAIT_MS);
    return () => clearTimeout(timer);
  }, [path.value]);
  const free = known.value.free_bytes;
  return html`<label class="field"><span>${text}</span>
    <input value=${path.value} list="folders" onInput=${(event) => { path.value = event.target.value; }} placeholder=${hint} spellcheck=${false} autocomplete="off" />
    <datalist id="folders">${known.value.folders.map((each) => html`<option key=${each.path} value=${each.path}></option>`)}</datalist>
    ${free !== null && html`<small>${t('{size} free', { size: bytes(free) })}</small>`}</label>`;
}
