/** Texts of the page. The English text is the key; a catalogue has the others. */
import { signal } from '../lib.js';
import { prefs } from './prefs.js';

const CATALOGUES = { de: () => import('../locale/de.js') };
export const LANGUAGES = { auto: 'Automatic', en: 'English', de: 'Deutsch' };
let texts = {};
let plural = new Intl.PluralRules('en');
/** Changes with the language, so that what shows texts is drawn again. */
export const language = signal('en');

/** Return a text in the language of the user, with `{name}` replaced by values. */
export function t(text, values) {
  const found = language.value === 'en' ? text : texts[text] ?? text;
  return values ? fill(found, values) : found;
}

/** Return a text for a number: `one` and `many` are English, with `{n}`. */
export function tn(one, many, n, values = {}) {
  const forms = language.value === 'en' ? [one, many] : texts[one] ?? [one, many];
  return fill(forms[plural.select(n) === 'one' ? 0 : 1], { ...values, n: n.toLocaleString(language.value) });
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

function wanted() {
  if (prefs.language.value !== 'auto') return prefs.language.value;
  const found = navigator.languages.map((each) => each.split('-')[0]).find((each) => each === 'en' || each in CATALOGUES);
  return found ?? 'en';
}

/** Load the catalogue of the language that is wanted. */
export async function loadLanguage() {
  const tag = wanted();
  if (tag in CATALOGUES) texts = (await CATALOGUES[tag]()).default;
  plural = new Intl.PluralRules(tag);
  document.documentElement.lang = tag;
  language.value = tag;
}
