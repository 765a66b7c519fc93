/** What the daemon has done and is doing; interrupted work can go on. */
import { html } from '../lib.js';
import { attempt } from '../core/actions.js';
import { del, post } from '../core/api.js';
import { bytes, date, percent } from '../core/format.js';
import { t, tn } from '../core/i18n.js';
import { may } from '../core/session.js';
import { jobs, takeJobs } from '../core/store.js';
import { Page } from './page.js';

const SHOWN = 200;
const STATUS = { pending: 'Waiting', running: 'Running', paused: 'Paused', completed: 'Completed', failed: 'Failed', cancelled: 'Cancelled' };
const KIND = { add: 'Add', check: 'Check', download: 'Download', seed: 'Seed', move: 'Move', create: 'Create' };
const COLOUR = { failed: 'bad', running: 'down', completed: 'up' };
const isOver = (job) => ['completed', 'failed', 'cancelled'].includes(job.status);
const interrupted = () => [...jobs.value.values()].filter((job) => job.status === 'failed' && job.reason === 'interrupted');

const retry = (found) => attempt(async () => {
  for (const job of found) await post(`api/v1/jobs/${job.id}/retry`);
});

/** Return the banner above the list when work was interrupted. */
export function ResumeBanner() {
  const found = interrupted();
  if (!found.length || !may('control')) return null;
  const forget = () => attempt(async () => {
    for (const job of found) await del(`api/v1/jobs/${job.id}`);
    takeJobs([], found.map((job) => job.id));
  });
  return html`<div class="banner" role="status"><span>${tn('{n} job was interrupted.', '{n} jobs were interrupted.', found.length)}</span>
    <button type="button" onClick=${() => retry(found)}>${t('Resume')}</button><button type="button" class="plain" onClick=${forget}>${t('Forget')}</button></div>`;
}

/** Return the page. */
export function Jobs() {
  const all = [...jobs.value.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  const clear = () => attempt(async () => {
    await del('api/v1/jobs');
    takeJobs([], all.filter(isOver).map((job) => job.id));
  });
  const act = (job, action) => attempt(() => post(`api/v1/jobs/${job.id}/${action}`));
  return html`<${Page} title=${t('Jobs')} extra=${html`<a class="button" href="api/v1/jobs/export?format=csv">${t('Export')}</a><button type="button" disabled=${!all.some(isOver)} onClick=${clear}>${t('Clear finished')}</button>`}>
    ${all.length === 0 ? html`<p class="hint">${t('Nothing has been done yet. Downloads, checks and moves are listed here.')}</p>` : html`<div class="table" tabIndex="0" role="region" aria-label=${t('Jobs')}><table><thead><tr>
      ${['Job', 'Torrent', 'Status', 'Progress', 'Begun', 'Ended', ''].map((text) => html`<th key=${text} scope="col">${text ? t(text) : html`<span class="unseen">${t('Actions')}</span>`}</th>`)}</tr></thead>
      <tbody>${all.slice(0, SHOWN).map((job) => html`<tr key=${job.id}><td>${t(KIND[job.kind] || job.kind)}</td><td class="wide">${job.torrent?.name || '–'}</td>
        <td><span class=${`status ${COLOUR[job.status] || 'quiet'}`}>${t(STATUS[job.status] || job.status)}</span>${job.error && html`<div class="small">${job.error}</div>`}</td>
        <td class="number">${job.total_bytes ? `${percent(job.progress)} · ${bytes(job.done_bytes)}` : percent(job.progress)}</td>
        <td class="number">${date(job.created_at)}</td><td class="number">${date(job.completed_at)}</td>
        <td class="buttons">${may('control') && (isOver(job) ? job.status === 'failed' && html`<button type="button" onClick=${() => retry([job])}>${t('Again')}</button>`
          : job.status === 'paused' ? html`<button type="button" onClick=${() => act(job, 'resume')}>${t('Resume')}</button>` : html`<button type="button" onClick=${() => act(job, 'pause')}>${t('Pause')}</button>`)}</td></tr>`)}</tbody></table></div>`}
  </${Page}>`;
}
