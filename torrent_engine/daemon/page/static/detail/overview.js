/** The facts of a torrent, with the map of its pieces. */
import { html } from '../lib.js';
import { get } from '../core/api.js';
import { copy } from '../core/clipboard.js';
import { bytes, date, duration, fullRate, number, percent, ratio } from '../core/format.js';
import { t } from '../core/i18n.js';
import { webLink } from '../core/links.js';
import { statusKind, statusText } from '../list/status.js';
import { Pieces } from './pieces.js';
import { usePoll } from './poll.js';

function Fact({ text, isWide, children }) {
  return html`<div class=${isWide ? 'wide' : ''}><dt>${text}</dt><dd>${children}</dd></div>`;
}

/** A text in which an address is a link. */
function Linked({ text }) {
  const link = webLink(text);
  return link ? html`<a href=${link} target="_blank" rel="noopener noreferrer">${text}</a>` : text;
}

/** Return the tab. */
export function Overview({ row }) {
  const more = usePoll(`api/v1/torrents/${row.hash}`, 10, get).value || {};
  return html`<div class="overview">
    ${row.error && html`<p class="warning" role="alert">${row.error.message}</p>`}
    <${Pieces} row=${row} />
    <dl class="facts">
      <${Fact} text=${t('Status')}><span class=${`status ${statusKind(row)}`}>${statusText(row)}</span> · ${percent(row.progress)}</${Fact}>
      <${Fact} text=${t('Size')}>${bytes(row.total_bytes || null)}${row.wanted_bytes < row.total_bytes ? ` · ${t('{size} wanted', { size: bytes(row.wanted_bytes) })}` : ''}</${Fact}>
      <${Fact} text=${t('Left')}>${bytes(row.total_bytes ? row.left_bytes : null)}${row.eta_s !== null && row.progress < 1 ? ` · ${duration(row.eta_s)}` : ''}</${Fact}>
      <${Fact} text=${t('Downloaded')}>${bytes(row.downloaded_bytes)} · ${fullRate(row.download_bytes_per_s)}</${Fact}>
      <${Fact} text=${t('Uploaded')}>${bytes(row.uploaded_bytes)} · ${fullRate(row.upload_bytes_per_s)}</${Fact}>
      <${Fact} text=${t('Ratio')}>${ratio(row.ratio)}</${Fact}>
      <${Fact} text=${t('Peers')}>${number(row.peers)}${row.swarm_leeches ? ` ${t('of {n}', { n: number(row.swarm_leeches) })}` : ''} · ${t('Seeds')} ${number(row.seeds)}${row.swarm_seeds ? ` ${t('of {n}', { n: number(row.swarm_seeds) })}` : ''}</${Fact}>
      <${Fact} text=${t('Seeding time')}>${duration(row.seeding_s)}</${Fact}>
      <${Fact} text=${t('Folder')}>${row.save_path}</${Fact}>
      <${Fact} text=${t('Added')}>${date(row.added_at)}</${Fact}>
      <${Fact} text=${t('Completed')}>${date(row.completed_at)}</${Fact}>
      <${Fact} text=${t('Pieces')}>${more.piece_count ? `${number(more.piece_count)} × ${number(more.piece_bytes / 1024)} KiB` : '–'}</${Fact}>
      <${Fact} text=${t('Labels')}>${row.labels.length ? row.labels.map((each) => html`<span class="tag">${each}</span>`) : '–'}</${Fact}>
      <${Fact} text=${t('Private')}>${row.is_private ? t('yes') : t('no')}</${Fact}>
      ${more.comment && html`<${Fact} text=${t('Comment')} isWide><${Linked} text=${more.comment} /></${Fact}>`}
      ${more.creator && html`<${Fact} text=${t('Made with')}>${more.creator}</${Fact}>`}
      <${Fact} text=${t('Info-hash')} isWide><code>${row.hash}</code></${Fact}>
    </dl>
    <p class="links"><button type="button" onClick=${() => copy(more.magnet || '')} disabled=${!more.magnet}>${t('Copy magnet link')}</button>
      ${row.total_bytes > 0 && html`<a class="button" href=${`api/v1/torrents/${row.hash}/torrent_file`} download>${t('Save .torrent')}</a>`}</p>
  </div>`;
}
