/** Torrents are added: files, magnet links, info-hashes and addresses, with a look at them before. */
import { html, useEffect, useSignal } from '../lib.js';
import { failed } from '../core/actions.js';
import { ask, post } from '../core/api.js';
import { bytes } from '../core/format.js';
import { t, tn } from '../core/i18n.js';
import { base64Of, sourcesIn } from '../core/links.js';
import { toast } from '../core/toasts.js';
import { categories } from '../core/store.js';
import { Buttons, closeDialog, Dialog, openDialog, showDialog } from '../ui/dialog.js';
import { FileTree } from '../ui/files.js';
import { FolderField } from '../ui/folder.js';
import { icon } from '../ui/icons.js';
import { MagnetPreview } from './preview.js';

const MAX_FILE_BYTES = 10_000_000; // of a .torrent; the daemon takes 16 MiB as base64
const MAX_AT_ONCE = 100;
const TORRENT = 'application/x-bittorrent';
let number = 0;

/** @typedef {{id: number, source: string | File, found: any, error: string, unwanted: Set<number>}} Entry */

const entryOf = (source) => ({ id: ++number, source, found: null, error: '', unwanted: new Set() });
const nameOf = (entry) => entry.found?.name || entry.source.name || entry.source;

function Add({ files = [], sources = [], text: given = '' }) {
  const entries = useSignal([]);
  const text = useSignal(given);
  const options = useSignal({ labels: '', category: '', paused: false, sequential: false });
  const path = useSignal('');
  const isBusy = useSignal(false);
  const change = (id, fields) => {
    entries.value = entries.value.map((each) => (each.id === id ? { ...each, ...fields } : each));
  };
  const take = (found) => {
    const known = new Set(entries.value.map((each) => each.source));
    const fresh = found.filter((each) => !known.has(each)).slice(0, MAX_AT_ONCE).map(entryOf);
    entries.value = [...entries.value, ...fresh];
    for (const entry of fresh) look(entry, change);
  };
  useEffect(() => take([...files, ...sources]), []);
  const onText = (event) => {
    const found = sourcesIn(event.target.value);
    text.value = found.length ? '' : event.target.value;
    event.target.value = text.value;
    take(found);
  };
  const good = entries.value.filter((each) => !each.error);
  const submit = async () => {
    if (!good.length || isBusy.value) return;
    isBusy.value = true;
    const left = await addAll(good, optionsOf(options.value, path.value));
    isBusy.value = false;
    if (left.length) entries.value = left;
    else closeDialog();
  };
  const one = entries.value.length === 1 ? entries.value[0] : null;
  const total = good.reduce((sum, each) => sum + wantedBytes(each), 0);
  const free = good.find((each) => each.found)?.found.free_bytes ?? null;
  const set = (name, key = 'value') => (event) => {
    options.value = { ...options.value, [name]: event.target[key] };
  };
  return html`<${Dialog} title=${t('Add torrents')} isWide onSubmit=${submit}
      buttons=${html`<span class=${free !== null && total > free ? 'total bad' : 'total'}>${total > 0 && t('{size} of {free} free', { size: bytes(total), free: bytes(free) })}</span>
        <${Buttons} text=${isBusy.value ? t('Adding…') : good.length > 1 ? tn('Add {n}', 'Add {n}', good.length) : t('Add')} isDisabled=${!good.length || isBusy.value} />`}>
    <div class="sources"><label class="field grow"><span>${t('Magnet links, info-hashes or addresses')}</span>
      <textarea id="add-text" rows="2" autofocus value=${text} onInput=${onText} placeholder="magnet:?xt=urn:btih:…" spellcheck=${false}></textarea></label>
      <label class="button file-button">${icon('file')} ${t('Choose files…')}<input type="file" class="unseen" multiple accept=${`.torrent,${TORRENT}`}
        onChange=${(event) => take([...event.target.files])} /></label></div>
    ${text.value && html`<p class="hint">${t('This is no link, info-hash or address yet.')}</p>`}
    ${entries.value.length > 0 && html`<ul class="entries">${entries.value.map((each) => html`<${Line} key=${each.id} entry=${each} drop=${() => {
      entries.value = entries.value.filter((other) => other.id !== each.id);
    }} />`)}</ul>`}
    ${one?.found && !one.error && html`<${Details} key=${one.id} entry=${one} change=${change} />`}
    <details class="options" open=${true}><summary>${t('Options')}</summary><div class="columns">
      <${FolderField} text=${t('Folder')} path=${path} hint=${one?.found?.save_path || t('as in the settings')} />
      <label class="field"><span>${t('Category')}</span><select value=${options.value.category} onChange=${set('category')}><option value="">${t('None')}</option>
        ${Object.keys(categories.value).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
      <label class="field"><span>${t('Labels, with commas')}</span><input value=${options.value.labels} onInput=${set('labels')} maxlength="255" /></label>
      <div><label class="check"><input type="checkbox" checked=${options.value.paused} onChange=${set('paused', 'checked')} /><span>${t('Add paused')}</span></label>
      <label class="check"><input type="checkbox" checked=${options.value.sequential} onChange=${set('sequential', 'checked')} /><span>${t('In order, to play while it loads')}</span></label></div>
    </div></details>
  </${Dialog}>`;
}

function Line({ entry, drop }) {
  const found = entry.found;
  const facts = found?.exists ? t('is here already') : found?.total_bytes ? bytes(found.total_bytes) : found ? t('size not known yet') : entry.error ? '' : t('Reading…');
  return html`<li><span class="name">${nameOf(entry)}</span>${entry.error ? html`<span class="bad" role="alert">${entry.error}</span>` : html`<span class="number small">${facts}</span>`}
    <button type="button" class="plain" aria-label=${t('Leave out')} onClick=${drop}>${icon('close')}</button></li>`;
}

function Details({ entry, change }) {
  const setOn = (indices, isOn) => {
    const next = new Set(entry.unwanted);
    for (const index of indices) isOn ? next.delete(index) : next.add(index);
    change(entry.id, { unwanted: next });
  };
  const take = ({ name, files, total_bytes }) => change(entry.id, { found: { ...entry.found, name, files, total_bytes } });
  return html`${typeof entry.source === 'string' && html`<${MagnetPreview} source=${entry.source} isKnown=${Boolean(entry.found.files)} take=${take} />`}
    ${entry.found.files && html`<${FileTree} files=${entry.found.files} isOn=${(index) => !entry.unwanted.has(index)} setOn=${setOn} />`}`;
}

const wantedBytes = ({ found, unwanted }) => {
  if (!found?.files) return found?.total_bytes || 0;
  return found.files.reduce((sum, file) => sum + (unwanted.has(file.index) ? 0 : file.size_bytes), 0);
};

async function look(entry, change) {
  try {
    const { source } = entry;
    if (source instanceof File && source.size > MAX_FILE_BYTES) throw new Error(t('The file is too large for a .torrent'));
    const found = source instanceof File
      ? await ask('POST', 'api/v1/torrents/inspect', { body: source, type: TORRENT })
      : await post('api/v1/torrents/inspect', { source });
    change(entry.id, { found });
  } catch (error) {
    change(entry.id, { error: error.message });
  }
}

function optionsOf({ labels, category, paused, sequential }, path) {
  const names = labels.split(',').map((each) => each.trim()).filter(Boolean);
  return {
    ...(names.length && { labels: names }), ...(category && { category }), ...(path && { save_path: path }),
    ...(paused && { paused }), ...(sequential && { sequential }),
  };
}

/** Add entries; return those that could not be. */
async function addAll(entries, options) {
  const left = [];
  let added = 0;
  let existing = 0;
  for (const entry of entries) {
    try {
      const { source, unwanted, found } = entry;
      const value = source instanceof File ? { torrent: await base64Of(source) } : source;
      const files = unwanted.size ? { files_wanted: found.files.map((file) => file.index).filter((index) => !unwanted.has(index)) } : {};
      const told = await post('api/v1/torrents', { source: value, ...options, ...files });
      if (told.existing) existing += 1;
      else added += 1;
    } catch (error) {
      left.push({ ...entry, error: error.message });
      if (error.status === 0) failed(error);
    }
  }
  if (added) toast(tn('{n} torrent added', '{n} torrents added', added));
  if (existing) toast(tn('{n} torrent was here already', '{n} torrents were here already', existing));
  return left;
}

/** Show the dialog, with what was dropped or pasted. */
export function showAdd(props = {}) {
  if (openDialog.value?.view === Add) closeDialog();
  showDialog(Add, props);
}
