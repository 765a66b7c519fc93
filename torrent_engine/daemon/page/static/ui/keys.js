/** Keys of the whole page. */
import { act } from '../core/actions.js';
import { prefs } from '../core/prefs.js';
import { go, route } from '../core/router.js';
import { cursor, moveCursor, selectedRows, selectOnly, toggle } from '../core/select.js';
import { may, sessionState } from '../core/session.js';
import { torrents } from '../core/store.js';
import { showAdd } from '../dialogs/add.js';
import { showRecheck, showRemove } from '../dialogs/confirm.js';
import { showHelp } from '../dialogs/help.js';
import { showLabels } from '../dialogs/labels.js';
import { showMove } from '../dialogs/move.js';
import { toggleAlternative } from '../list/statusbar.js';
import { openDialog } from './dialog.js';

const hashes = () => selectedRows.value.map((row) => row.hash);

function pauseOrResume() {
  const rows = selectedRows.value;
  const isRunning = rows.some((row) => !['paused', 'stopped', 'finished', 'error'].includes(row.status));
  act(isRunning ? 'pause' : 'resume', hashes());
}

function details(tab) {
  const hash = selectedRows.value[0]?.hash || cursor.value;
  if (torrents.has(hash)) {
    selectOnly(hash);
    go(`t/${hash}/${tab}`);
  }
}

const focusSearch = () => {
  const field = document.getElementById('search');
  field?.focus();
  field?.select();
};

/** Keys that are no letters, and always work. */
const ALWAYS = {
  ' ': () => may('control') && pauseOrResume(),
  Delete: () => may('control') && showRemove(selectedRows.value),
  Escape: () => (route.value.hash || route.value.page) && go(''),
};
/** Letters, which can be switched off (WCAG 2.1.4). */
const LETTERS = {
  '?': showHelp,
  '/': focusSearch,
  a: () => may('add') && showAdd(),
  j: () => moveCursor(1),
  k: () => moveCursor(-1),
  x: () => cursor.value && toggle(cursor.value),
  r: () => may('control') && showRecheck(selectedRows.value),
  n: () => may('control') && act('reannounce', hashes()),
  l: () => may('control') && showLabels(selectedRows.value),
  m: () => may('control') && showMove(selectedRows.value),
  f: () => details('files'),
  p: () => details('peers'),
  t: () => details('trackers'),
  g: () => details('speed'),
  T: toggleAlternative,
};

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (openDialog.value || sessionState.value !== 'in') return;
  if (event.target.closest?.('input, textarea, select, [role="menu"]')) return;
  if (event.key === ' ' && event.target.closest?.('button, a, summary, [role="tab"]')) return;
  const run = ALWAYS[event.key] ?? (prefs.keys.value ? LETTERS[event.key] : undefined);
  if (!run) return;
  event.preventDefault();
  run();
}

/** Listen to the keys. */
export const listenToKeys = () => document.addEventListener('keydown', onKey);
