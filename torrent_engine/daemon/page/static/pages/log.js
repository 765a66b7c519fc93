/** The newest records of the daemon's log, which follow by themselves. */
import { html, useEffect, useSignal } from '../lib.js';
import { date } from '../core/format.js';
import { get } from '../core/api.js';
import { t } from '../core/i18n.js';
import { Page } from './page.js';

const LEVELS = { error: 'Errors', warning: 'Warnings', info: 'Usual', debug: 'Everything' };
const COLOURS = { error: 'bad', warning: 'busy' };
const SHOWN = 500;
const POLL_MS = 2000;

/** Return the page. */
export function Log() {
  const level = useSignal('info');
  const told = useSignal(null);
  const error = useSignal('');
  useEffect(() => {
    let timer = 0;
    let isOver = false;
    let last = 0;
    told.value = null;
    const next = async () => {
      try {
        const found = await get(`api/v1/log?level=${level.value}&after=${last}&limit=${SHOWN}`);
        last = found.last;
        if (!isOver) told.value = [...found.items.reverse(), ...(told.value || [])].slice(0, SHOWN);
        error.value = '';
      } catch (problem) {
        error.value = problem.message;
      }
      if (!isOver) timer = setTimeout(next, POLL_MS);
    };
    next();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [level.value]);
  const choice = html`<label class="inline-choice"><span>${t('Level')}</span><select value=${level.value} onChange=${(event) => { level.value = event.target.value; }}>
    ${Object.entries(LEVELS).map(([name, text]) => html`<option key=${name} value=${name}>${t(text)}</option>`)}</select></label>`;
  const rows = told.value;
  return html`<${Page} title=${t('Log')} extra=${choice}>${error.value && html`<p class="warning" role="alert">${error.value}</p>`}
    ${!rows ? html`<p class="hint">${t('Loading…')}</p>` : rows.length === 0 ? html`<p class="hint">${t('Nothing of this level has been logged.')}</p>`
    : html`<ol class="log" tabIndex="0" aria-label=${t('Log')}>${rows.map((each) => html`<li key=${each.number}><span class="small number">${date(each.at, 'medium')}</span>
      <span class=${`status ${COLOURS[each.level] || 'quiet'}`}>${each.level}</span><span class="text">${each.text}</span></li>`)}</ol>`}
  </${Page}>`;
}
