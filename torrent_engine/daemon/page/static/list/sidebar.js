/** The filters on the left, each with its number of torrents. */
import { html } from '../lib.js';
import { t } from '../core/i18n.js';
import { number } from '../core/format.js';
import { categories, counts, labels, tick } from '../core/store.js';
import { facet, showFacet } from '../core/view.js';
import { icon } from '../ui/icons.js';

const STATUSES = [
  ['all', 'All', 'all'], ['status:downloading', 'Downloading', 'down'], ['status:seeding', 'Seeding', 'up'],
  ['status:complete', 'Complete', 'check'], ['status:active', 'Active', 'active'], ['status:stalled', 'Stalled', 'stalled'],
  ['status:queued', 'Queued', 'queue'], ['status:checking', 'Checking', 'search'], ['status:paused', 'Paused', 'pause'],
  ['status:error', 'With errors', 'error'],
];

function Item({ name, text, symbol }) {
  void tick.value; // the counts change with it
  const isOn = facet.value === name;
  return html`<li><button type="button" class=${isOn ? 'filter on' : 'filter'} aria-pressed=${isOn} onClick=${() => showFacet(name)}>
    ${icon(symbol)}<span class="text">${text}</span><span class="count number">${number(counts.get(name) || 0)}</span></button></li>`;
}

function Group({ title, kind, names, none, symbol }) {
  if (!names.length) return null;
  return html`<section><h2>${title}</h2><ul>
    ${names.map((name) => html`<${Item} key=${name} name=${`${kind}:${name}`} text=${name} symbol=${symbol} />`)}
    ${counts.get(`${kind}:`) > 0 && html`<${Item} name=${`${kind}:`} text=${none} symbol=${symbol} />`}
  </ul></section>`;
}

const byText = (a, b) => a.localeCompare(b);

/** Return the filters. */
export function Sidebar() {
  void tick.value;
  const trackers = [...counts.keys()].filter((key) => key.startsWith('tracker:') && key.length > 8).map((key) => key.slice(8));
  return html`<nav class="sidebar" id="filters" aria-label=${t('Filters')}>
    <section><h2>${t('Status')}</h2><ul>${STATUSES.map(([name, text, symbol]) => html`<${Item} key=${name} name=${name} text=${t(text)} symbol=${symbol} />`)}</ul></section>
    <${Group} title=${t('Categories')} kind="category" none=${t('Without category')} symbol="folder" names=${Object.keys(categories.value).sort(byText)} />
    <${Group} title=${t('Labels')} kind="label" none=${t('Without label')} symbol="tag" names=${Object.keys(labels.value).sort(byText)} />
    <${Group} title=${t('Trackers')} kind="tracker" none=${t('Without tracker')} symbol="tracker" names=${trackers.sort(byText)} />
  </nav>`;
}
