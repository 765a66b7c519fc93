/** What the keys do. */
import { html } from '../lib.js';
import { t } from '../core/i18n.js';
import { Dialog, showDialog } from '../ui/dialog.js';

const KEYS = [
  ['↑ ↓, J K', 'Move in the list'], ['Shift+↑ ↓', 'Extend the selection'], ['X', 'Select or unselect'], ['Ctrl+A', 'Select all'],
  ['Enter', 'Details'], ['Space', 'Pause or resume'], ['A', 'Add torrents'], ['/', 'Filter'], ['Del', 'Remove…'], ['R', 'Check files…'],
  ['N', 'Announce now'], ['L', 'Labels and category…'], ['M', 'Move files…'], ['F P T G', 'Files, peers, trackers, speed'], ['Shift+T', 'Alternative speeds'],
  ['Shift+F10', 'Menu of the torrent'], ['Esc', 'Close, select nothing'], ['?', 'Keyboard'],
];

function Help() {
  return html`<${Dialog} title=${t('Keyboard')}><dl class="keys">${KEYS.map(([key, text]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${t(text)}</dd></div>`)}</dl>
    <p class="hint">${t('Single letters can be switched off in the settings.')}</p></${Dialog}>`;
}

/** Show what the keys do. */
export const showHelp = () => showDialog(Help);
