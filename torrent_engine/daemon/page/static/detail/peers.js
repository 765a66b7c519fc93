/** The peers of a torrent. */
import { html } from '../lib.js';
import { bytes, percent, rate } from '../core/format.js';
import { t } from '../core/i18n.js';
import { usePoll } from './poll.js';

const SHOWN = 200;

function flagsOf(peer) {
  const found = [];
  if (peer.is_incoming) found.push(t('incoming'));
  if (peer.transport === 'utp') found.push('µTP');
  if (peer.encryption && peer.encryption !== 'plaintext' && peer.encryption !== 'none') found.push(t('encrypted'));
  if (peer.is_snubbed) found.push(t('silent'));
  if (peer.is_optimistic) found.push(t('optimistic'));
  return found.join(', ');
}

/** Return the tab. */
export function Peers({ row }) {
  const told = usePoll(`api/v1/torrents/${row.hash}/peers`, 2).value;
  if (!told?.items) return html`<p class="hint">${told?.error || t('Loading…')}</p>`;
  if (!told.items.length) return html`<p class="hint">${t('No peer is connected now.')}</p>`;
  const peers = [...told.items].sort((a, b) => b.download_bytes_per_s + b.upload_bytes_per_s - a.download_bytes_per_s - a.upload_bytes_per_s);
  const heads = ['Address', 'Client', 'Progress', 'Down', 'Up', 'Downloaded', 'Uploaded', 'Source', 'Flags'];
  return html`<div class="table"><table><thead><tr>${heads.map((text) => html`<th key=${text} scope="col">${t(text)}</th>`)}</tr></thead>
    <tbody>${peers.slice(0, SHOWN).map((peer) => html`<tr key=${`${peer.host} ${peer.port}`}>
      <td class="number left">${peer.host.includes(':') ? `[${peer.host}]` : peer.host}:${peer.port}</td><td>${peer.client}</td><td class="number">${percent(peer.progress)}</td>
      <td class="number">${rate(peer.download_bytes_per_s)}</td><td class="number">${rate(peer.upload_bytes_per_s)}</td>
      <td class="number">${bytes(peer.downloaded_bytes)}</td><td class="number">${bytes(peer.uploaded_bytes)}</td><td>${peer.source}</td><td>${flagsOf(peer)}</td></tr>`)}</tbody></table></div>`;
}
