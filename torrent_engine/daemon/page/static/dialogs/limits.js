/** Limits of torrents, and of all together. Rates are given in kB/s; empty is no limit. */
import { html, useEffect, useSignal } from '../lib.js';
import { attempt } from '../core/actions.js';
import { get, patch } from '../core/api.js';
import { t, tn } from '../core/i18n.js';
import { settings } from '../list/statusbar.js';
import { Buttons, closeDialog, Dialog, showDialog } from '../ui/dialog.js';

function Field({ text, unit, values, name, found = null, step = '1' }) {
  return html`<label class="field row-field"><span>${text}</span><span class="with-unit"><input type="number" min="0" max="10000000" step=${step} inputmode="decimal" placeholder="∞"
    value=${values.value[name] ?? (found?.value[name] || '')} onInput=${(event) => { values.value = { ...values.value, [name]: event.target.value }; }} /><i>${unit}</i></span></label>`;
}

const whole = (text) => Math.max(0, Math.round(Number(text) || 0));
/** What is sent for each field. */
const LIMITS = {
  down: (text) => ({ download_bytes_per_s: whole(text * 1000) }), up: (text) => ({ upload_bytes_per_s: whole(text * 1000) }), peers: (text) => ({ peer_limit: whole(text) }),
};
const RULES = { ratio: (text) => ({ ratio: text ? Number(text) : null }), hours: (text) => ({ time_s: text ? Number(text) * 3600 : null }) };

/** Return what a patch has of the fields that were typed into; undefined for none. */
function partOf(typed, fields) {
  const names = Object.keys(fields).filter((name) => name in typed);
  return names.length ? Object.assign({}, ...names.map((name) => fields[name](typed[name]))) : undefined;
}

function Limits({ rows }) {
  const found = useSignal({}); // comes late: what is typed before stays
  const typed = useSignal({});
  useEffect(() => {
    if (rows.length !== 1) return;
    attempt(async () => {
      const { limits, seed_rules: rules } = await get(`api/v1/torrents/${rows[0].hash}`);
      found.value = {
        down: limits.download_bytes_per_s / 1000, up: limits.upload_bytes_per_s / 1000, peers: limits.peer_limit,
        ratio: rules.ratio === 'never' ? '' : rules.ratio ?? '', hours: rules.time_s > 0 ? rules.time_s / 3600 : '',
      };
    });
  }, []);
  const save = () => attempt(async () => {
    closeDialog();
    const change = { limits: partOf(typed.value, LIMITS), seed_rules: partOf(typed.value, RULES) };
    if (change.limits || change.seed_rules) for (const row of rows) await patch(`api/v1/torrents/${row.hash}`, change);
  });
  const parts = { values: typed, found };
  return html`<${Dialog} title=${tn('Limits of {n} torrent', 'Limits of {n} torrents', rows.length)} onSubmit=${save} buttons=${html`<${Buttons} text=${t('Save')} />`}>
    <${Field} text=${t('Download')} unit="kB/s" ...${parts} name="down" /><${Field} text=${t('Upload')} unit="kB/s" ...${parts} name="up" />
    <${Field} text=${t('Peers')} unit="" ...${parts} name="peers" />
    <${Field} text=${t('Stop seeding at ratio')} unit="" ...${parts} name="ratio" step="any" /><${Field} text=${t('or after')} unit="h" ...${parts} name="hours" step="any" />
    <p class="hint">${t('Empty: as in the settings. What is not changed here stays as it is.')}</p>
  </${Dialog}>`;
}

/** Show the limits of torrents. */
export const showLimits = (rows) => rows.length && showDialog(Limits, { rows });

const GLOBAL = ['limits.download_kb_s', 'limits.upload_kb_s', 'limits.alt_download_kb_s', 'limits.alt_upload_kb_s'];

function GlobalLimits() {
  const values = useSignal(Object.fromEntries(GLOBAL.map((key) => [key, settings.value[key] || ''])));
  const save = () => attempt(async () => {
    closeDialog();
    const change = Object.fromEntries(GLOBAL.map((key) => [key, whole(values.value[key])]));
    await patch('api/v1/settings', change);
    settings.value = { ...settings.value, ...change };
  });
  return html`<${Dialog} title=${t('Limits of all torrents')} onSubmit=${save} buttons=${html`<${Buttons} text=${t('Save')} />`}>
    <${Field} text=${t('Download')} unit="kB/s" values=${values} name="limits.download_kb_s" /><${Field} text=${t('Upload')} unit="kB/s" values=${values} name="limits.upload_kb_s" />
    <h3>${t('Alternative speeds')}</h3>
    <${Field} text=${t('Download')} unit="kB/s" values=${values} name="limits.alt_download_kb_s" /><${Field} text=${t('Upload')} unit="kB/s" values=${values} name="limits.alt_upload_kb_s" />
  </${Dialog}>`;
}

/** Show the limits of all torrents. */
export const showGlobalLimits = () => showDialog(GlobalLimits);
