/** The start of the page. */
import { effect, html, render, useEffect } from './lib.js';
import { connection, ensureSession, sessionState } from './core/session.js';
import { start, stop } from './core/events.js';
import { loadLanguage, t } from './core/i18n.js';
import { listenForNews } from './core/notify.js';
import { forgetOwner, renewOwner } from './core/owner.js';
import { prefs } from './core/prefs.js';
import { go, route } from './core/router.js';
import { order } from './core/view.js';
import { isPhone } from './core/theme.js';
import { Panel } from './detail/panel.js';
import { showAdd } from './dialogs/add.js';
import { DropPlace } from './list/drop.js';
import { Empty } from './list/empty.js';
import { Grid } from './list/grid.js';
import { Sidebar } from './list/sidebar.js';
import { StatusBar } from './list/statusbar.js';
import { Toolbar } from './list/toolbar.js';
import { Health } from './pages/health.js';
import { Jobs, ResumeBanner } from './pages/jobs.js';
import { Log } from './pages/log.js';
import { Login } from './pages/login.js';
import { Settings } from './pages/settings.js';
import { DialogPlace } from './ui/dialog.js';
import { listenToKeys } from './ui/keys.js';
import { MenuPlace } from './ui/menu.js';
import { Toasts } from './ui/toasts.js';

const PAGES = { settings: Settings, jobs: Jobs, health: Health, log: Log };

function App() {
  const state = sessionState.value;
  if (state === 'out') return html`<${Login} />`;
  if (state === 'offline') return html`<${Offline} />`;
  if (state === 'unknown') return html`<p class="boot">torrent_engine</p>`;
  return html`<${Shell} />`;
}

function Offline() {
  useEffect(() => {
    const timer = setInterval(() => ensureSession({ force: true }), 3000);
    return () => clearInterval(timer);
  }, []);
  return html`<main class="empty"><h1>${t('Not connected, trying again')}</h1><p>${t('The daemon does not answer. Is it running?')}</p>
    <button type="button" onClick=${() => ensureSession({ force: true })}>${t('Try now')}</button></main>`;
}

function Shell() {
  useEffect(() => {
    if (route.value.page === 'add') {
      showAdd({ sources: route.value.uri ? [route.value.uri] : [] });
      go('', { replace: true });
    }
  }, [route.value.page]);
  const View = PAGES[route.value.page];
  const kinds = ['shell', prefs.sidebar.value ? 'with-sidebar' : '', route.value.hash ? 'with-panel' : '', connection.value === 'waiting' ? 'offline' : ''].join(' ');
  return html`<div class=${kinds}>
    <a class="skip" href="#list" onClick=${(event) => {
      event.preventDefault();
      (document.getElementById('list') || document.querySelector('#main button'))?.focus();
    }}>${t('To the list')}</a>
    ${View ? html`<${View} />` : html`<${Torrents} />`}
    <${StatusBar} /><${DropPlace} /><${DialogPlace} /><${MenuPlace} /><${Toasts} />
  </div>`;
}

function Torrents() {
  const closeOnPhone = (event) => {
    if (isPhone.value && event.target.closest('button')) prefs.sidebar.value = false;
  };
  return html`<${Toolbar} />${prefs.sidebar.value && html`<div class="side" onClick=${closeOnPhone}><${Sidebar} /></div>`}
    <main id="main"><h1 class="unseen">${t('Torrents')}</h1><${ResumeBanner} />${order.value.length ? html`<${Grid} />` : html`<${Empty} />`}</main><${Panel} />`;
}

if (isPhone.value) prefs.sidebar.value = false;
listenForNews();
listenToKeys();
effect(() => {
  const state = sessionState.value;
  queueMicrotask(() => {
    if (state === 'in') {
      start();
      renewOwner();
    } else {
      stop();
      forgetOwner();
    }
  });
});
await Promise.all([loadLanguage(), ensureSession({ force: true })]);
const place = document.getElementById('app');
place.replaceChildren();
render(html`<${App} />`, place);
