/** Questions before something is lost. */
import { html, useSignal } from '../lib.js';
import { act } from '../core/actions.js';
import { t, tn } from '../core/i18n.js';
import { go, route } from '../core/router.js';
import { bytes } from '../core/format.js';
import { Buttons, closeDialog, Dialog, showDialog } from '../ui/dialog.js';

const SHOWN = 6;

/** The names of some torrents. */
export function Names({ rows }) {
  return html`<ul class="names">${rows.slice(0, SHOWN).map((row) => html`<li key=${row.hash}>${row.name}</li>`)}
    ${rows.length > SHOWN && html`<li>${tn('and {n} more', 'and {n} more', rows.length - SHOWN)}</li>`}</ul>`;
}

function Remove({ rows }) {
  const isDeleting = useSignal(false);
  const remove = () => {
    closeDialog();
    if (rows.some((row) => row.hash === route.value.hash)) go('');
    act('remove', rows.map((row) => row.hash), { delete_files: isDeleting.value });
  };
  const size = rows.reduce((sum, row) => sum + row.completed_bytes, 0);
  return html`<${Dialog} title=${tn('Remove {n} torrent?', 'Remove {n} torrents?', rows.length)} onSubmit=${remove}
      buttons=${html`<${Buttons} text=${isDeleting.value ? t('Remove with files') : t('Remove')} isDanger />`}>
    <${Names} rows=${rows} />
    <label class="check"><input type="checkbox" checked=${isDeleting} onChange=${(event) => { isDeleting.value = event.target.checked; }} />
      <span>${t('Delete the files too ({size})', { size: bytes(size) })}</span></label>
    ${isDeleting.value && html`<p class="warning" role="alert">${t('Deleted files cannot be brought back.')}</p>`}
  </${Dialog}>`;
}

/** Ask before torrents are removed. */
export const showRemove = (rows) => rows.length && showDialog(Remove, { rows });

function Recheck({ rows }) {
  const check = () => {
    closeDialog();
    act('recheck', rows.map((row) => row.hash));
  };
  return html`<${Dialog} title=${t('Check files again?')} onSubmit=${check} buttons=${html`<${Buttons} text=${t('Check')} />`}>
    <p>${t('All data is read from the disk and compared with the torrent. Transfers rest meanwhile.')}</p><${Names} rows=${rows} />
  </${Dialog}>`;
}

/** Ask before files are checked, which takes long. */
export const showRecheck = (rows) => rows.length && showDialog(Recheck, { rows });
