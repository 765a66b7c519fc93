/** The bar at the top: add, act on what is selected, search, and the menu of the page. */
import { html, useRef } from '../lib.js';
import { act } from '../core/actions.js';
import { t, tn } from '../core/i18n.js';
import { prefs } from '../core/prefs.js';
import { go, route } from '../core/router.js';
import { selected, selectedRows, selectNone } from '../core/select.js';
import { logOut, may, session } from '../core/session.js';
import { isPhone } from '../core/theme.js';
import { facet, query, search } from '../core/view.js';
import { showAdd } from '../dialogs/add.js';
import { showRemove } from '../dialogs/confirm.js';
import { showHelp } from '../dialogs/help.js';
import { icon } from '../ui/icons.js';
import { showMenuAt } from '../ui/menu.js';
import { isMarking } from './grid.js';
import { columnMenu, sortMenu, torrentMenu } from './menus.js';

/** A button that is an icon, with a name. */
export function IconButton({ name, text, run, isOff = false, isOn, hint }) {
  const title = hint ? `${text} (${hint})` : text;
  return html`<button type="button" class="tool" title=${title} aria-label=${text} aria-pressed=${isOn} disabled=${isOff} onClick=${run}>${icon(name)}</button>`;
}

/** Return the bar. */
export function Toolbar() {
  const field = useRef(null);
  const chosen = selected.value;
  const none = chosen.size === 0 || !may('control');
  const rows = selectedRows.value;
  const more = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    torrentMenu(box.left, box.bottom + 4);
  };
  const onKey = (event) => {
    if (event.key === 'Escape') {
      search('');
      document.getElementById('list')?.focus();
    } else if (event.key === 'Enter' || event.key === 'ArrowDown') document.getElementById('list')?.focus();
  };
  return html`<header class="toolbar">
    <button type="button" class=${facet.value === 'all' ? 'tool only-phone' : 'tool only-phone on'} aria-label=${t('Filters')} aria-expanded=${prefs.sidebar.value} onClick=${toggleSidebar}>${icon('filter')}</button>
    <button type="button" class="primary add" onClick=${() => showAdd()} disabled=${!may('add')} title=${`${t('Add torrents')} (A)`}>${icon('add')}<span>${t('Add')}</span></button>
    <div class="actions" role="toolbar" aria-label=${t('Selected torrents')}>
      <${IconButton} name="play" text=${t('Resume')} hint="Space" isOff=${none} run=${() => act('resume', chosen)} />
      <${IconButton} name="pause" text=${t('Pause')} hint="Space" isOff=${none} run=${() => act('pause', chosen)} />
      <${IconButton} name="remove" text=${t('Remove…')} hint="Del" isOff=${none} run=${() => showRemove(rows)} />
      <${IconButton} name="more" text=${t('More actions')} isOff=${none} run=${more} />
    </div>
    ${chosen.size > 0 && (chosen.size > 1 || isMarking.value) && html`<button type="button" class="plain chosen" title=${t('Select nothing')} onClick=${() => {
      selectNone();
      isMarking.value = false;
    }}>${tn('{n} selected', '{n} selected', chosen.size)} ${icon('close')}</button>`}
    <label class="search">${icon('search')}<span class="unseen">${t('Filter by name')}</span>
      <input ref=${field} id="search" type="search" placeholder=${t('Filter')} value=${query.value} autocomplete="off" spellcheck=${false}
        onInput=${(event) => search(event.target.value)} onKeyDown=${onKey} /></label>
    ${isPhone.value
      ? html`<${IconButton} name="queue" text=${t('Sort')} run=${(event) => menuBelow(event, sortMenu)} />`
      : html`<${IconButton} name="columns" text=${t('Columns')} run=${(event) => menuBelow(event, columnMenu)} />`}
    <button type="button" class="tool" aria-label=${t('Menu')} aria-haspopup="menu" onClick=${pageMenu}>${icon('menu')}</button>
  </header>`;
}

function menuBelow(event, show) {
  const box = event.currentTarget.getBoundingClientRect();
  show(box.left, box.bottom + 4);
}

function toggleSidebar() {
  prefs.sidebar.value = !prefs.sidebar.value;
}

function pageMenu(event) {
  const to = (page) => () => go(page);
  const { left, bottom } = event.currentTarget.getBoundingClientRect();
  const wide = (item) => (isPhone.value ? undefined : item);
  showMenuAt(event.currentTarget, [
    { text: t('Torrents'), icon: icon('all'), run: to(''), isOff: route.value.page === '' },
    { text: t('Jobs'), icon: icon('jobs'), run: to('jobs') },
    { text: t('Health'), icon: icon('health'), run: to('health') },
    may('admin') ? { text: t('Log'), icon: icon('file'), run: to('log') } : undefined,
    { text: t('Settings'), icon: icon('settings'), run: to('settings') },
    null,
    wide({ text: t('Sort'), icon: icon('queue'), run: () => sortMenu(left, bottom + 4) }),
    wide({ text: t('Filters'), isChecked: prefs.sidebar.value, run: toggleSidebar }),
    wide({ text: t('Compact rows'), isChecked: prefs.dense.value, run: () => { prefs.dense.value = !prefs.dense.value; } }),
    wide(null),
    ...['auto', 'light', 'dark'].map((theme) => ({
      text: t({ auto: 'Theme of the system', light: 'Light', dark: 'Dark' }[theme]),
      isChecked: prefs.theme.value === theme, run: () => { prefs.theme.value = theme; },
    })),
    null,
    wide({ text: t('Keyboard'), icon: icon('help'), hint: '?', run: showHelp }),
    session.value?.means === 'cookie' ? { text: t('Log out'), icon: icon('logout'), run: logOut } : undefined,
  ], t('Menu'));
}
