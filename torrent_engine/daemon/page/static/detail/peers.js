/** The peers of a torrent. */
import { html } from '../lib.js';
import { bytes, percent, rate } from '../core/format.js';
import { t } from '../core/i18n.js';
import { Table } from '../ui/table.js';
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
  const rows = peers.slice(0, SHOWN).map((peer) => ({
    key: `${peer.host} ${peer.port}`,
    cells: [
      [`${peer.host.includes(':') ? `[${peer.host}]` : peer.host}:${peer.port}`, 'number first'], [peer.client], [percent(peer.progress), 'number'],
      [rate(peer.download_bytes_per_s), 'number'], [rate(peer.upload_bytes_per_s), 'number'],
      [bytes(peer.downloaded_bytes), 'number'], [bytes(peer.uploaded_bytes), 'number'], [peer.source], [flagsOf(peer)],
    ],
  }));
  return html`<${Table} heads=${heads} rows=${rows} text=${t('Peers')} />`;
}
