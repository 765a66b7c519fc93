/** Files that are dropped, and links that are pasted, anywhere on the page. */
import { html, signal, useEffect } from '../lib.js';
import { t } from '../core/i18n.js';
import { sourcesIn } from '../core/links.js';
import { may } from '../core/session.js';
import { openDialog } from '../ui/dialog.js';
import { showAdd } from '../dialogs/add.js';

const isOver = signal(false);

function onPaste(event) {
  if (event.target.closest?.('input, textarea') || openDialog.value) return;
  const data = event.clipboardData;
  const files = [...data.files];
  const sources = sourcesIn(data.getData('text'));
  if (files.length || sources.length) {
    event.preventDefault();
    showAdd({ files, sources });
  }
}

function onDrop(event) {
  event.preventDefault();
  isOver.value = false;
  const data = event.dataTransfer;
  const files = [...data.files];
  const sources = files.length ? [] : sourcesIn(data.getData('text/uri-list') || data.getData('text'));
  if (may('add') && (files.length || sources.length)) showAdd({ files, sources });
}

function onDrag(event) {
  event.preventDefault();
  isOver.value = event.type !== 'dragleave' || event.relatedTarget !== null;
}

/** Return what is shown while something is dragged over the page. */
export function DropPlace() {
  useEffect(() => {
    const handlers = { paste: onPaste, drop: onDrop, dragover: onDrag, dragleave: onDrag };
    for (const [name, handle] of Object.entries(handlers)) window.addEventListener(name, handle);
    return () => {
      for (const [name, handle] of Object.entries(handlers)) window.removeEventListener(name, handle);
    };
  }, []);
  return isOver.value ? html`<div class="drop"><p>${t('Drop to add')}</p></div>` : null;
}
