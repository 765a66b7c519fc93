/** Numbers, sizes, times and dates for people. */
import { language, t } from './i18n.js';
import { prefs } from './prefs.js';

const DECIMAL = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const numbers = new Map();

function formatter(digits) {
  const key = `${language.value} ${digits}`;
  if (!numbers.has(key)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    numbers.set(key, new Intl.NumberFormat(language.value, options));
  }
  return numbers.get(key);
}

/** Return a number with a fixed number of digits. */
export const number = (value, digits = 0) => formatter(digits).format(value);

/** Return a size: three digits that count, and a unit. */
export function bytes(value) {
  if (value === null || value === undefined) return '–';
  const step = prefs.binary.value ? 1024 : 1000;
  const units = prefs.binary.value ? BINARY : DECIMAL;
  let size = value;
  let unit = 0;
  while (size >= step && unit < units.length - 1) {
    size /= step;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : size < 10 ? 2 : size < 100 ? 1 : 0;
  return `${number(size, digits)} ${units[unit]}`;
}

/** Return a rate; empty for none, so that only what moves catches the eye. */
export const rate = (value) => (value > 0 ? `${bytes(value)}/s` : '');

/** Return a rate, also when it is zero. */
export const fullRate = (value) => `${bytes(Math.max(0, Math.round(value || 0)))}/s`;

/** Return a fraction as per cent; never 100 before it is whole. */
export function percent(fraction) {
  const value = Math.max(0, Math.min(1, fraction || 0));
  if (value === 1) return '100 %';
  return `${number(Math.floor(value * 1000) / 10, 1)} %`;
}

/** Return a time in its two largest units, or without the seconds of minutes. */
export function duration(seconds, isShort = false) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '∞';
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s < 600 && !isShort ? `${s % 60} s` : ''}`.trim();
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return t('{d} d {h} h', { d: number(Math.floor(s / 86400)), h: Math.floor((s % 86400) / 3600) });
}

/** Return a date and time of RFC 3339; a dash for none. */
export function date(text, timeStyle = 'short') {
  if (!text) return '–';
  const options = { dateStyle: 'medium', timeStyle };
  return new Intl.DateTimeFormat(language.value, options).format(new Date(text));
}

/** Return the day of a date of RFC 3339; a dash for none. */
export const day = (text) => (text ? new Intl.DateTimeFormat(language.value, { dateStyle: 'medium' }).format(new Date(text)) : '–');

/** Return a ratio. */
export const ratio = (value) => (value === null || value === undefined ? '–' : number(value, 2));
