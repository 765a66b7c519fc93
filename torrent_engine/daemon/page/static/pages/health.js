/** How the daemon is: parts, disks, network and totals. */
import { html } from '../lib.js';
import { bytes, date, duration, number } from '../core/format.js';
import { t } from '../core/i18n.js';
import { stats } from '../core/store.js';
import { usePoll } from '../detail/poll.js';
import { Graph } from '../ui/graph.js';
import { Page } from './page.js';

const PORT = { open: 'Peers reach this port', likely: 'The router has opened the port', unknown: 'No peer has come in yet' };

/** Return the disks, each folder once. */
const uniqueDisks = (health) => [...new Map((health?.disks || []).map((each) => [each.path, each])).values()];

/** Return the page. */
export function Health() {
  const health = usePoll('api/v1/health', 5).value;
  const network = usePoll('api/v1/network', 5).value;
  const about = usePoll('api/v1', 60).value;
  const history = usePoll('api/v1/stats/history?step=1', 2).value;
  const now = stats.value;
  const samples = (history?.samples || []).map(([at, down, up]) => [typeof at === 'number' ? at : Date.parse(at) / 1000, down, up]);
  return html`<${Page} title=${t('Health')}><div class="cards-grid">
    <section class="full"><h2>${t('Speed, 10 minutes')}</h2><${Graph} samples=${samples} span=${600} step=${1} /></section>
    <section><h2>${t('Network')}</h2>${network && html`<dl class="facts one"><div><dt>${t('Port')}</dt><dd><span class=${`status ${network.port === 'open' ? 'up' : 'quiet'}`}>${number(network.listen_port).replace(/\D/g, '')}</span> · ${t(PORT[network.port])}</dd></div>
      <div><dt>${t('Address')}</dt><dd>${network.external_addresses?.join(', ') || '–'}</dd></div><div><dt>${t('DHT nodes')}</dt><dd>${number(network.dht_nodes || 0)}</dd></div></dl>`}</section>
    <section><h2>${t('Disks')}</h2>${uniqueDisks(health).map((disk) => html`<div class="disk" key=${disk.path}><div class="line"><span class="name" title=${disk.path}>${disk.path}</span><span class="number">${t('{size} free', { size: bytes(disk.free_bytes) })}</span></div>
      ${disk.total_bytes && html`<meter min="0" max=${disk.total_bytes} value=${disk.total_bytes - disk.free_bytes} aria-label=${disk.path}></meter>`}</div>`)}</section>
    <section><h2>${t('Totals')}</h2>${now && html`<dl class="facts one"><div><dt>${t('Since the start')}</dt><dd class="number">↓ ${bytes(now.since_start.downloaded_bytes)} ↑ ${bytes(now.since_start.uploaded_bytes)} · ${duration(now.since_start.seconds)}</dd></div>
      <div><dt>${t('Ever')}</dt><dd class="number">↓ ${bytes(now.ever.downloaded_bytes)} ↑ ${bytes(now.ever.uploaded_bytes)}</dd></div><div><dt>${t('Version')}</dt><dd>${about?.version || '–'}</dd></div></dl>`}</section>
    <section class="full"><h2>${t('Parts')}</h2><ul class="parts">${health?.parts?.map((part) => html`<li key=${part.name}><span class=${`dot ${part.error ? 'bad' : part.state === 'running' ? 'up' : 'quiet'}`}></span>${part.name.replaceAll('_', ' ')}
      <span class="small">${part.error || t(part.state)}${part.since ? ` · ${t('since {date}', { date: date(part.since) })}` : ''}</span></li>`)}</ul></section>
  </div></${Page}>`;
}
