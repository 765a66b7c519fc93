/** Another folder for the files of torrents. */
import { html, useSignal } from '../lib.js';
import { attempt } from '../core/actions.js';
import { post } from '../core/api.js';
import { t, tn } from '../core/i18n.js';
import { Buttons, closeDialog, Dialog, showDialog } from '../ui/dialog.js';
import { FolderField } from '../ui/folder.js';

function Move({ rows }) {
  const path = useSignal(rows[0].save_path);
  const isMoving = useSignal(true);
  const move = () => attempt(async () => {
    for (const row of rows) await post(`api/v1/torrents/${row.hash}/move`, { path: path.value, move_data: isMoving.value });
    closeDialog();
  });
  return html`<${Dialog} title=${tn('Move {n} torrent', 'Move {n} torrents', rows.length)} onSubmit=${move} buttons=${html`<${Buttons} text=${t('Move')} isDisabled=${!path.value} />`}>
    <${FolderField} text=${t('Folder')} path=${path} />
    <label class="check"><input type="checkbox" checked=${isMoving} onChange=${(event) => { isMoving.value = event.target.checked; }} /><span>${t('Move the files')}</span></label>
    ${!isMoving.value && html`<p class="hint">${t('The files are looked for there.')}</p>`}
  </${Dialog}>`;
}

/** Ask where files belong. */
export const showMove = (rows) => rows.length && showDialog(Move, { rows });
