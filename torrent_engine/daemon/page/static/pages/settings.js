/** The settings: of this browser, and those of the daemon from its schema. */
import { html, useEffect, useSignal } from '../lib.js';
import { attempt } from '../core/actions.js';
import { get, patch } from '../core/api.js';
import { LANGUAGES, loadLanguage, t } from '../core/i18n.js';
import { prefs } from '../core/prefs.js';
import { may } from '../core/session.js';
import { toast } from '../core/toasts.js';
import { askToNotify } from '../core/notify.js';
import { Page } from './page.js';

const APPLIES = { restart: 'the engine is opened again', process: 'at the next start of the daemon' };

/** Return the page. */
export function Settings() {
  const told = useSignal(null);
  useEffect(() => {
    attempt(async () => {
      const [schema, now] = await Promise.all([get('api/v1/settings/schema'), get('api/v1/settings')]);
      told.value = { schema, settings: now.settings };
    });
  }, []);
  const save = (key, value) => attempt(async () => {
    const { settings, changed } = await patch('api/v1/settings', { [key]: value });
    told.value = { ...told.value, settings };
    toast(changed.process.length ? t('Saved; counts at the next start of the daemon') : t('Saved'));
  });
  const sections = told.value ? Object.keys(told.value.schema['x-sections']) : [];
  return html`<${Page} title=${t('Settings')}><div class="settings"><${Browser} />
    ${sections.map((name) => html`<${Section} key=${name} name=${name} told=${told.value} save=${save} />`)}
    ${!told.value && html`<p class="hint">${t('Loading…')}</p>`}</div></${Page}>`;
}

function Browser() {
  const set = (key) => (event) => {
    prefs[key].value = event.target.type === 'checkbox' ? event.target.checked : event.target.value;
  };
  const choice = (key, values, text) => html`<label class="setting"><span>${text}</span><select value=${prefs[key].value} onChange=${(event) => {
    set(key)(event);
    if (key === 'language') loadLanguage();
  }}>${Object.entries(values).map(([value, shown]) => html`<option key=${value} value=${value}>${t(shown)}</option>`)}</select></label>`;
  const box = (key, text) => html`<label class="setting"><span>${text}</span><input type="checkbox" checked=${prefs[key].value} onChange=${set(key)} /></label>`;
  const notify = async (event) => {
    prefs.notify.value = event.target.checked && (await askToNotify());
    event.target.checked = prefs.notify.value;
  };
  const canHandle = 'registerProtocolHandler' in navigator && isSecureContext;
  return html`<section><h2>${t('This browser')}</h2>
    ${choice('theme', { auto: 'Theme of the system', light: 'Light', dark: 'Dark' }, t('Theme'))}${choice('language', LANGUAGES, t('Language'))}
    ${box('dense', t('Compact rows'))}${box('binary', t('Sizes in KiB, MiB, GiB'))}${box('keys', t('Single letters as keys'))}
    <label class="setting"><span>${t('Notify when a torrent is complete')}</span><input type="checkbox" checked=${prefs.notify.value} onChange=${notify} /></label>
    ${canHandle && html`<div class="setting"><span>${t('Open magnet links with this page')}</span><button type="button" onClick=${() => navigator.registerProtocolHandler('magnet', `${location.origin}${location.pathname}#/add?uri=%s`)}>${t('Register')}</button></div>`}
  </section>`;
}

function Section({ name, told, save }) {
  const { schema, settings } = told;
  const keys = Object.keys(schema.properties).filter((key) => schema.properties[key]['x-section'] === name);
  return html`<section><h2>${name === 'tls' ? 'TLS' : name}</h2><p class="hint">${schema['x-sections'][name]}</p>
    ${keys.map((key) => html`<${Setting} key=${key} name=${key} about=${schema.properties[key]} now=${settings[key]} save=${save} />`)}</section>`;
}

function Setting({ name, about, now, save }) {
  const isOff = about['x-file-only'] || now.pinned || !may('settings') || about.writeOnly;
  const why = about['x-file-only'] || about.writeOnly ? t('set in daemon.toml only') : now.pinned ? t('set by {origin}', { origin: now.origin }) : APPLIES[about['x-applies']] ? t(APPLIES[about['x-applies']]) : '';
  return html`<label class="setting"><span>${about.description.replaceAll('`', '')}<small><code>${name}</code>${why && ` · ${why}`}</small></span><${Control} about=${about} value=${now.value} isOff=${isOff} save=${(value) => save(name, value)} /></label>`;
}

function Control({ about, value, isOff, save }) {
  const types = [about.type].flat();
  if (about.enum) {
    return html`<select value=${value} disabled=${isOff} onChange=${(event) => save(event.target.value)}>${about.enum.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select>`;
  }
  if (types.includes('boolean')) return html`<input type="checkbox" checked=${value} disabled=${isOff} onChange=${(event) => save(event.target.checked)} />`;
  const isNumber = types.includes('integer') || types.includes('number');
  const read = (text) => {
    if (types.includes('array')) return text.split(',').map((each) => each.trim()).filter(Boolean);
    if (!isNumber) return text;
    return text === '' ? null : Number(text);
  };
  return html`<input type=${isNumber ? 'number' : 'text'} disabled=${isOff} value=${Array.isArray(value) ? value.join(', ') : value ?? ''} min=${about.minimum} max=${about.maximum}
    step=${types.includes('number') ? 'any' : undefined} spellcheck=${false} onChange=${(event) => event.target.reportValidity() && save(read(event.target.value))} />`;
}
