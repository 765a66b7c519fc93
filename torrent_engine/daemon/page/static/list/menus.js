/** The menus of torrents and of columns. */
import { act } from '../core/actions.js';
import { copy } from '../core/clipboard.js';
import { t } from '../core/i18n.js';
import { attempt } from '../core/actions.js';
import { get } from '../core/api.js';
import { prefs } from '../core/prefs.js';
import { go } from '../core/router.js';
import { selectedRows } from '../core/select.js';
import { may } from '../core/session.js';
import { labels } from '../core/store.js';
import { sortBy } from '../core/view.js';
import { showLabels } from '../dialogs/labels.js';
import { showLimits } from '../dialogs/limits.js';
import { showMove } from '../dialogs/move.js';
import { showRecheck, showRemove } from '../dialogs/confirm.js';
import { icon } from '../ui/icons.js';
import { showMenu } from '../ui/menu.js';
import { COLUMNS } from './columns.js';

/** Show what can be done with the selected torrents. */
export function torrentMenu(x, y) {
  const rows = selectedRows.value;
  if (!rows.length) return;
  const hashes = rows.map((row) => row.hash);
  const only = rows.length === 1 ? rows[0] : null;
  const item = (text, name, run, hint, isOff = !may('control')) => ({ text: t(text), icon: name && icon(name), run, hint, isOff });
  showMenu(x, y, [
    item('Resume', 'play', () => act('resume', hashes), 'Space'),
    item('Pause', 'pause', () => act('pause', hashes), 'Space'),
    item('Start now', '', () => act('start_now', hashes)),
    item('Stop', '', () => act('stop', hashes)),
    null,
    only ? item('Details', '', () => go(`t/${only.hash}/${prefs.panel.value}`), 'Enter', false) : undefined,
    item('Labels and category…', 'tag', () => showLabels(rows), 'L'),
    item('Limits…', '', () => showLimits(rows)),
    item('Move files…', 'folder', () => showMove(rows), 'M'),
    null,
    item('Check files…', 'check', () => showRecheck(rows), 'R'),
    item('Announce now', 'tracker', () => act('reannounce', hashes), 'N'),
    null,
    item('To the top of the queue', 'queue', () => act('queue_top', hashes)),
    item('Up in the queue', '', () => act('queue_up', hashes)),
    item('Down in the queue', '', () => act('queue_down', hashes)),
    item('To the end of the queue', '', () => act('queue_bottom', hashes)),
    null,
    item('Copy magnet links', 'link', () => copyMagnets(rows), '', false),
    item('Copy names', '', () => copy(rows.map((row) => row.name).join('\n')), '', false),
    null,
    { ...item('Remove…', 'remove', () => showRemove(rows), 'Del'), isDanger: true },
  ], t('Torrent'));
}

async function copyMagnets(rows) {
  await attempt(async () => {
    const found = [];
    for (const row of rows.slice(0, 100)) found.push((await get(`api/v1/torrents/${row.hash}`)).magnet);
    await copy(found.join('\n'));
  });
}

/** Show which columns there are. */
export function columnMenu(x, y) {
  const shown = prefs.columns.value;
  const change = (key) => {
    if (shown.includes(key)) prefs.columns.value = shown.filter((each) => each !== key);
    else prefs.columns.value = Object.keys(COLUMNS).filter((each) => each === key || shown.includes(each));
  };
  showMenu(x, y, Object.entries(COLUMNS).map(([key, column]) => ({
    text: t(column.text), isChecked: shown.includes(key), isOff: key === 'name', run: () => change(key),
  })), t('Columns'));
}

/** Show by what the list is sorted, for layouts without headings. */
export function sortMenu(x, y) {
  const now = prefs.sort.value[0]?.key;
  const keys = ['added_at', 'name', 'size', 'progress', 'down', 'up', 'ratio', 'eta', 'queue'];
  showMenu(x, y, keys.map((key) => ({ text: t(COLUMNS[key].text), isChecked: key === now, run: () => sortBy(key) })), t('Sort'));
}

/** Names of all labels. */
export const labelNames = () => Object.keys(labels.value).sort();
