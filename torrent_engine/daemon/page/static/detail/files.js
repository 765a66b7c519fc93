/** The files of a torrent, with their priorities, and what can be played. */
import { html } from '../lib.js';
import { attempt } from '../core/actions.js';
import { ask, url } from '../core/api.js';
import { copy } from '../core/clipboard.js';
import { t } from '../core/i18n.js';
import { may } from '../core/session.js';
import { showDialog, Dialog } from '../ui/dialog.js';
import { FileTree } from '../ui/files.js';
import { icon } from '../ui/icons.js';
import { usePoll } from './poll.js';

const PRIORITIES = { 0: 'Not wanted', 1: 'Low', 4: 'Normal', 7: 'High' };
const nearest = (value) => (value === 0 ? 0 : value < 4 ? 1 : value === 4 ? 4 : 7);
const isMedia = (file) => /^(video|audio)\//.test(file.media_type);

function Play({ file }) {
  const address = url(file.stream);
  const name = file.path.split('/').pop();
  return html`<${Dialog} title=${name} isWide buttons=${html`<button type="button" onClick=${() => copy(address)}>${t('Copy address')}</button>`}>
    ${file.media_type.startsWith('video') ? html`<video controls autoplay src=${address}></video>` : html`<audio controls autoplay src=${address}></audio>`}
    <p class="hint">${t('Other players open the playlist or the address.')}</p></${Dialog}>`;
}

/** Return the tab. */
export function Files({ row }) {
  const told = usePoll(`api/v1/torrents/${row.hash}/files`, 4);
  const files = told.value?.items;
  if (!files) return html`<p class="hint">${told.value?.error || t('Loading…')}</p>`;
  if (!files.length) return html`<p class="hint">${t('The files are known when a peer has sent the metadata.')}</p>`;
  const byIndex = new Map(files.map((each) => [each.index, each]));
  const change = (indices, priority) => attempt(async () => {
    const chosen = new Set(indices);
    told.value = { items: files.map((each) => (chosen.has(each.index) ? { ...each, priority } : each)) };
    told.value = await ask('PATCH', `api/v1/torrents/${row.hash}/files`, { json: indices.map((index) => ({ index, priority })) });
  });
  const extra = (at) => {
    const values = new Set(at.files.map((index) => nearest(byIndex.get(index)?.priority ?? 4)));
    const now = values.size === 1 ? String([...values][0]) : '';
    return html`${at.file && isMedia(at.file) ? html`<button type="button" class="plain" aria-label=${t('Play {name}', { name: at.name })} title=${t('Play')} onClick=${() => showDialog(Play, { file: at.file })}>${icon('play')}</button>` : html`<span class="no-play"></span>`}
      <select aria-label=${t('Priority of {name}', { name: at.name })} disabled=${!may('control')} value=${now} onChange=${(event) => change(at.files, Number(event.target.value))}>
        ${now === '' && html`<option value="">${t('Several')}</option>`}${Object.entries(PRIORITIES).map(([value, text]) => html`<option key=${value} value=${value}>${t(text)}</option>`)}</select>`;
  };
  return html`<div class="files">${files.some(isMedia) && html`<p class="links"><a class="button" href=${`stream/${row.hash}/playlist.m3u8`}>${t('Playlist')}</a></p>`}
    <${FileTree} files=${files} hasProgress isOn=${(index) => (byIndex.get(index)?.priority ?? 4) > 0}
    setOn=${may('control') ? (indices, isOn) => change(indices, isOn ? 4 : 0) : undefined} extra=${extra} /></div>`;
}
