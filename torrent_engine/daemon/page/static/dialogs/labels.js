/** Labels and the category of torrents. */
import { html, useSignal } from '../lib.js';
import { act } from '../core/actions.js';
import { attempt } from '../core/actions.js';
import { put } from '../core/api.js';
import { t, tn } from '../core/i18n.js';
import { categories, labels } from '../core/store.js';
import { Buttons, closeDialog, Dialog, showDialog } from '../ui/dialog.js';

function Labels({ rows }) {
  const common = Object.fromEntries(Object.keys(labels.value).map((name) => [name, rows.filter((row) => row.labels.includes(name)).length]));
  const chosen = useSignal(new Map(Object.entries(common).map(([name, n]) => [name, n === rows.length ? true : n ? null : false])));
  const fresh = useSignal('');
  const category = useSignal(rows.every((row) => row.category === rows[0].category) ? rows[0].category || '' : '\0');
  const newCategory = useSignal('');
  const save = async () => {
    closeDialog();
    const ids = rows.map((row) => row.hash);
    const added = [...chosen.value].filter(([, isOn]) => isOn === true).map(([name]) => name);
    added.push(...fresh.value.split(',').map((each) => each.trim()).filter(Boolean));
    const gone = [...chosen.value].filter(([name, isOn]) => isOn === false && common[name]).map(([name]) => name);
    if (added.length) await act('add_labels', ids, { labels: added });
    if (gone.length) await act('remove_labels', ids, { labels: gone });
    const name = newCategory.value.trim() || category.value;
    if (name === '\0') return;
    if (newCategory.value.trim() && !(await attempt(() => put(`api/v1/categories/${encodeURIComponent(name)}`, {})))) return;
    await act('set_category', ids, { category: name });
  };
  const change = (name, isOn) => {
    chosen.value = new Map(chosen.value).set(name, isOn);
  };
  return html`<${Dialog} title=${tn('Labels of {n} torrent', 'Labels of {n} torrents', rows.length)} onSubmit=${save} buttons=${html`<${Buttons} text=${t('Save')} />`}>
    ${[...chosen.value].map(([name, isOn]) => html`<label class="check" key=${name}><input type="checkbox" checked=${isOn === true} ref=${(box) => { if (box) box.indeterminate = isOn === null; }}
      onChange=${(event) => change(name, event.target.checked)} /><span>${name}</span></label>`)}
    <label class="field"><span>${t('New labels, with commas')}</span><input value=${fresh} onInput=${(event) => { fresh.value = event.target.value; }} maxlength="255" /></label>
    <label class="field"><span>${t('Category')}</span><select value=${category} onChange=${(event) => { category.value = event.target.value; }}>
      ${category.value === '\0' && html`<option value=${'\0'}>${t('Several')}</option>`}
      <option value="">${t('None')}</option>${Object.keys(categories.value).map((name) => html`<option key=${name} value=${name}>${name}</option>`)}</select></label>
    <label class="field"><span>${t('Or a new category')}</span><input value=${newCategory} onInput=${(event) => { newCategory.value = event.target.value; }} maxlength="255" /></label>
  </${Dialog}>`;
}

/** Show the labels of torrents. */
export const showLabels = (rows) => rows.length && showDialog(Labels, { rows });
