/** The trackers of a torrent: what they answered, more of them, fewer of them. */
import { html, useSignal } from '../lib.js';
import { act, attempt } from '../core/actions.js';
import { del, post } from '../core/api.js';
import { date, number } from '../core/format.js';
import { t } from '../core/i18n.js';
import { may } from '../core/session.js';
import { icon } from '../ui/icons.js';
import { Table } from '../ui/table.js';
import { usePoll } from './poll.js';

const WORDS = { ok: 'Works', working: 'Works', announcing: 'Asks now', error: 'Failed', idle: 'Not asked yet', waiting: 'Waits', backup: 'In reserve' };
const count = (value) => (value === null || value < 0 ? '–' : number(value));

/** Return the tab. */
export function Trackers({ row }) {
  const told = usePoll(`api/v1/torrents/${row.hash}/trackers`, 5);
  const fresh = useSignal('');
  const items = told.value?.items;
  if (!items) return html`<p class="hint">${told.value?.error || t('Loading…')}</p>`;
  const add = (event) => {
    event.preventDefault();
    attempt(async () => {
      await post(`api/v1/torrents/${row.hash}/trackers`, { url: fresh.value.trim() });
      fresh.value = '';
      told.refresh();
    });
  };
  const remove = (id) => attempt(async () => {
    await del(`api/v1/torrents/${row.hash}/trackers/${id}`);
    told.refresh();
  });
  const heads = ['Tier', 'Address', 'State', 'Seeds', 'Peers', 'Next', 'Message', 'Actions'];
  const rows = items.map((each) => ({
    key: each.id,
    cells: [
      [each.tier + 1, 'number'], [each.url, 'wide first'], [t(WORDS[each.state] || each.state)], [count(each.seeds), 'number'], [count(each.leeches), 'number'],
      [date(each.next_announce_at), 'number'], [each.last_announce?.error || each.message, 'wide'],
      [may('control') && html`<button type="button" class="plain" aria-label=${t('Remove {name}', { name: each.url })} onClick=${() => remove(each.id)}>${icon('remove')}</button>`, 'buttons'],
    ],
  }));
  return html`<div class="trackers">${items.length === 0 ? html`<p class="hint">${t('This torrent has no trackers; peers come from the DHT and from other peers.')}</p>` : html`<${Table} heads=${heads} rows=${rows} text=${t('Trackers')} />`}
    ${may('control') && html`<form class="inline" onSubmit=${add}><label class="field"><span class="unseen">${t('Address of a tracker')}</span>
      <input type="url" required value=${fresh} placeholder="https://tracker.example/announce" onInput=${(event) => { fresh.value = event.target.value; }} /></label>
      <button type="submit">${t('Add tracker')}</button><button type="button" onClick=${() => act('reannounce', [row.hash])}>${t('Announce now')}</button></form>`}</div>`;
}
