/** The columns of the list: heading, width, and what a cell shows. */
import { html } from '../lib.js';
import { bytes, date, day, duration, number, percent, rate, ratio } from '../core/format.js';
import { shownProgress, statusKind, statusText } from './status.js';

/** A bar with its text beside it. */
export function Progress({ row }) {
  const fraction = shownProgress(row);
  const text = percent(fraction);
  return html`<span class=${`bar ${statusKind(row)}`} role="progressbar" aria-label=${text} aria-valuenow=${Math.floor(fraction * 100)} aria-valuemin="0" aria-valuemax="100">
    <span class="fill" style=${{ transform: `scaleX(${fraction})` }}></span></span><span class="number" aria-hidden="true">${text}</span>`;
}

/** A day; the time is told when the mouse rests on it. */
const dayOf = (text) => html`<span title=${date(text)}>${day(text)}</span>`;
const peersText = (now, swarm) => (swarm ? `${now} (${number(swarm)})` : String(now || ''));

/** @type {Record<string, {text: string, width: string, isNumber?: boolean, cell: (row: any) => any}>} texts are English */
export const COLUMNS = {
  name: { text: 'Name', width: 'minmax(180px, 1fr)', cell: (row) => html`<span class=${`dot ${statusKind(row)}`}></span><span class="name" title=${row.name}>${row.name}</span>` },
  size: { text: 'Size', width: '84px', isNumber: true, cell: (row) => (row.total_bytes ? bytes(row.total_bytes) : '–') },
  progress: { text: 'Progress', width: '116px', cell: (row) => html`<${Progress} row=${row} />` },
  status: { text: 'Status', width: '140px', cell: (row) => html`<span class=${`status ${statusKind(row)}`} title=${row.error?.message || null}>${statusText(row)}</span>` },
  down: { text: 'Down', width: '84px', isNumber: true, cell: (row) => rate(row.download_bytes_per_s) },
  up: { text: 'Up', width: '84px', isNumber: true, cell: (row) => rate(row.upload_bytes_per_s) },
  eta: { text: 'Time left', width: '88px', isNumber: true, cell: (row) => (row.progress < 1 && row.eta_s !== null ? duration(row.eta_s) : '') },
  ratio: { text: 'Ratio', width: '56px', isNumber: true, cell: (row) => ratio(row.ratio) },
  peers: { text: 'Peers', width: '64px', isNumber: true, cell: (row) => peersText(row.peers, row.swarm_leeches) },
  seeds: { text: 'Seeds', width: '72px', isNumber: true, cell: (row) => peersText(row.seeds, row.swarm_seeds) },
  left: { text: 'Left', width: '84px', isNumber: true, cell: (row) => (row.left_bytes ? bytes(row.left_bytes) : '') },
  downloaded: { text: 'Downloaded', width: '96px', isNumber: true, cell: (row) => bytes(row.downloaded_bytes) },
  uploaded: { text: 'Uploaded', width: '96px', isNumber: true, cell: (row) => bytes(row.uploaded_bytes) },
  category: { text: 'Category', width: '110px', cell: (row) => row.category || '' },
  labels: { text: 'Labels', width: '140px', cell: (row) => row.labels.map((each) => html`<span class="tag">${each}</span>`) },
  tracker: { text: 'Tracker', width: '140px', cell: (row) => row.tracker_host || '' },
  queue: { text: 'Queue', width: '64px', isNumber: true, cell: (row) => number(row.queue_position + 1) },
  save_path: { text: 'Folder', width: '200px', cell: (row) => row.save_path },
  added_at: { text: 'Added', width: '108px', isNumber: true, cell: (row) => dayOf(row.added_at) },
  completed_at: { text: 'Completed', width: '108px', isNumber: true, cell: (row) => dayOf(row.completed_at) },
  activity_at: { text: 'Last activity', width: '158px', isNumber: true, cell: (row) => date(row.activity_at) },
};
