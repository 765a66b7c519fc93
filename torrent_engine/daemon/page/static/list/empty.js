/** What stands in the place of the list when it is empty, and what to do then. */
import { html } from '../lib.js';
import { t } from '../core/i18n.js';
import { showFacet, search, query } from '../core/view.js';
import { isLoaded, torrents } from '../core/store.js';
import { may } from '../core/session.js';
import { isTouch } from '../core/theme.js';
import { showAdd } from '../dialogs/add.js';

/** Return what is said. */
export function Empty() {
  if (!isLoaded.value && torrents.size === 0) return html`<div class="empty"><p>${t('Loading…')}</p></div>`;
  if (torrents.size === 0) {
    return html`<div class="empty"><h2>${t('No torrents yet')}</h2>
      <p>${isTouch.value ? t('Add a .torrent file or a magnet link.') : t('Drop .torrent files here, or paste a magnet link.')}</p>
      <button type="button" class="primary" disabled=${!may('add')} onClick=${() => showAdd()}>${t('Add torrents')}</button></div>`;
  }
  const clear = () => {
    search('');
    showFacet('all');
  };
  return html`<div class="empty"><h2>${t('Nothing matches')}</h2>
    <p>${query.value ? t('No name has “{text}”.', { text: query.value }) : t('No torrent is in this filter.')}</p>
    <button type="button" onClick=${clear}>${t('Show all')}</button></div>`;
}
