/** The details of one torrent, in tabs. */
import { html, useEffect, useLayoutEffect, useRef } from '../lib.js';
import { t } from '../core/i18n.js';
import { prefs } from '../core/prefs.js';
import { go, route } from '../core/router.js';
import { tick, torrents } from '../core/store.js';
import { isPhone } from '../core/theme.js';
import { icon } from '../ui/icons.js';
import { Files } from './files.js';
import { Overview } from './overview.js';
import { Peers } from './peers.js';
import { recordRates, Speed } from './speed.js';
import { Trackers } from './trackers.js';

const TABS = { overview: ['Overview', Overview], files: ['Files', Files], peers: ['Peers', Peers], trackers: ['Trackers', Trackers], speed: ['Speed', Speed] };

/** Return the panel; nothing if no torrent is open. */
export function Panel() {
  void tick.value;
  const row = torrents.get(route.value.hash);
  return row ? html`<${Details} row=${row} />` : null;
}

function Details({ row }) {
  const { hash, tab } = route.value;
  const element = useRef(null);
  useLayoutEffect(() => () => {
    if (element.current.contains(document.activeElement)) document.getElementById('list')?.focus();
  }, []);
  useEffect(() => {
    const timer = setInterval(() => recordRates(hash), 1000);
    return () => clearInterval(timer);
  }, [hash]);
  const now = tab in TABS ? tab : 'overview';
  const View = TABS[now][1];
  const show = (name) => {
    prefs.panel.value = name;
    go(`t/${hash}/${name}`, { replace: true });
  };
  const onKey = (event) => {
    const names = Object.keys(TABS);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = names[(names.indexOf(now) + step + names.length) % names.length];
    show(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return html`<section ref=${element} class="panel" aria-label=${t('Details')}>
    <header><div class="tabs" role="tablist" aria-label=${t('Details')} onKeyDown=${onKey}>
      ${Object.entries(TABS).map(([name, [text]]) => html`<button key=${name} type="button" role="tab" id=${`tab-${name}`} aria-selected=${name === now} aria-controls="tab-body"
        tabIndex=${name === now ? 0 : -1} onClick=${() => show(name)}>${t(text)}</button>`)}</div>
      ${!isPhone.value && html`<h2 title=${row.name}>${row.name}</h2>`}
      <button type="button" class="plain close" aria-label=${t('Close')} onClick=${() => go('')}>${icon('close')}</button></header>
    ${isPhone.value && html`<h2 class="phone-title">${row.name}</h2>`}
    <div class="panel-body" role="tabpanel" id="tab-body" aria-labelledby=${`tab-${now}`} tabIndex="-1"><${View} key=${hash} row=${row} /></div>
  </section>`;
}
