/** The rates of one torrent since its details were opened, and of all over longer times. */
import { html, useEffect, useSignal } from '../lib.js';
import { t } from '../core/i18n.js';
import { torrents } from '../core/store.js';
import { Graph } from '../ui/graph.js';
import { usePoll } from './poll.js';

const SPANS = { now: [120, 1], hour: [3600, 1], day: [86_400, 60], month: [2_592_000, 900] };
const TEXTS = { now: 'This torrent', hour: 'All, 1 hour', day: 'All, 1 day', month: 'All, 30 days' };
/** Samples of the torrents that were looked at. */
const kept = new Map();

/** Note the rates of a torrent each second while its details are open. */
export function recordRates(hash) {
  const row = torrents.get(hash);
  if (!row) return;
  const samples = kept.get(hash) || [];
  kept.clear();
  kept.set(hash, [...samples.slice(-119), [Date.now() / 1000, row.download_bytes_per_s, row.upload_bytes_per_s]]);
}

/** Return the tab. */
export function Speed({ row }) {
  const which = useSignal('now');
  const own = useSignal(kept.get(row.hash) || []);
  useEffect(() => {
    const timer = setInterval(() => {
      own.value = kept.get(row.hash) || [];
    }, 1000);
    return () => clearInterval(timer);
  }, []);
  const [span, step] = SPANS[which.value];
  const told = usePoll(`api/v1/stats/history?step=${step}`, Math.min(step, 30) + 1).value;
  const samples = which.value === 'now' ? own.value : (told?.samples || []).map(([at, down, up]) => [typeof at === 'number' ? at : Date.parse(at) / 1000, down, up]);
  return html`<div class="speed-tab"><div class="choice" role="group" aria-label=${t('Time')}>${Object.entries(TEXTS).map(([name, text]) => html`<button key=${name} type="button" aria-pressed=${which.value === name}
    onClick=${() => { which.value = name; }}>${t(text)}</button>`)}</div><${Graph} samples=${samples} span=${span} step=${step} /></div>`;
}
