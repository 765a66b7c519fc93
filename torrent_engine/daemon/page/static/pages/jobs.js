/** What the daemon has done and is doing; interrupted work can go on. */
import { html } from '../lib.js';
import { attempt } from '../core/actions.js';
import { del, post } from '../core/api.js';
import { bytes, date, percent } from '../core/format.js';
import { t, tn } from '../core/i18n.js';
import { may } from '../core/session.js';
import { jobs, takeJobs } from '../core/store.js';
import { Table } from '../ui/table.js';
import { Page } from './page.js';

const SHOWN = 200;
const STATUS = { pending: 'Waiting', running: 'Running', paused: 'Paused', completed: 'Completed', failed: 'Failed', cancelled: 'Cancelled' };
const KIND = { add: 'Add', check: 'Check', download: 'Download', seed: 'Seed', move: 'Move', create: 'Create' };
const COLOUR = { failed: 'bad', running: 'down', completed: 'up' };
const isOver = (job) => ['completed', 'failed', 'cancelled'].includes(job.status);
const canRetry = (job) => job.status === 'failed' && job.kind !== 'create';
const interrupted = () => [...jobs.value.values()].filter((job) => canRetry(job) && job.reason === 'interrupted');

const retry = (found) => attempt(async () => {
  for (const job of found) {
    if (!(await post(`api/v1/jobs/${job.id}/retry`))) continue;
    await del(`api/v1/jobs/${job.id}`); // another job has taken its place
    takeJobs([], [job.id]);
  }
});

/** Return the banner above the list when work was interrupted. */
export function ResumeBanner() {
  const found = interrupted();
  if (!found.length || !may('control')) return null;
  const forget = () => attempt(async () => {
    for (const job of found) await del(`api/v1/jobs/${job.id}`);
    takeJobs([], found.map((job) => job.id));
  });
  return html`<div class="banner" role="status"><span>${tn('{n} job was interrupted.', '{n} jobs were interrupted.', found.length)} ${found.length === 1 && html`<small>${found[0].name}</small>`}</span>
    <button type="button" onClick=${() => retry(found)}>${t('Resume')}</button><button type="button" class="plain" onClick=${forget}>${t('Forget')}</button></div>`;
}

function cellsOf(job, act) {
  const button = (text, run) => html`<button type="button" onClick=${run}>${text}</button>`;
  const next = !isOver(job) ? (job.status === 'paused' ? button(t('Resume'), () => act(job, 'resume')) : button(t('Pause'), () => act(job, 'pause')))
    : canRetry(job) && button(t('Again'), () => retry([job]));
  return [
    [job.name || '–', 'wide first'], [t(KIND[job.kind] || job.kind)],
    [html`<div><span class=${`status ${COLOUR[job.status] || 'quiet'}`}>${t(STATUS[job.status] || job.status)}</span>${job.error && html`<div class="small">${job.error}</div>`}</div>`, job.error ? 'wide' : ''],
    [job.kind === 'seed' ? '' : job.done_bytes ? `${percent(job.progress)} · ${bytes(job.done_bytes)}` : percent(job.progress), 'number'],
    [date(job.created_at), 'number'], [date(job.completed_at), 'number'], [may('control') && next, 'buttons'],
  ];
}

/** Return the page. */
export function Jobs() {
  const all = [...jobs.value.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  const clear = () => attempt(async () => {
    await del('api/v1/jobs');
    takeJobs([], all.filter(isOver).map((job) => job.id));
  });
  const heads = ['Torrent', 'Job', 'Status', 'Progress', 'Begun', 'Ended', 'Actions'];
  const act = (job, action) => attempt(() => post(`api/v1/jobs/${job.id}/${action}`));
  return html`<${Page} title=${t('Jobs')} extra=${html`<a class="button" href="api/v1/jobs/export?format=csv">${t('Export')}</a><button type="button" disabled=${!may('control') || !all.some(isOver)} onClick=${clear}>${t('Clear finished')}</button>`}>
    ${all.length === 0 ? html`<p class="hint">${t('Nothing has been done yet. Downloads, checks and moves are listed here.')}</p>` : html`<${Table} heads=${heads} rows=${all.slice(0, SHOWN).map((job) => ({ key: job.id, cells: cellsOf(job, act) }))} text=${t('Jobs')} />`}
  </${Page}>`;
}
