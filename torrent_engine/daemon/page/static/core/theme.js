/** Light, dark, or as the system is. */
import { effect, signal } from '../lib.js';
import { prefs } from './prefs.js';

const dark = matchMedia('(prefers-color-scheme: dark)');
const phone = matchMedia('(max-width: 720px)');
/** Whether the page is as narrow as a phone. */
export const isPhone = signal(phone.matches);
/** The theme that is shown; canvases are drawn again when it changes. */
export const shownTheme = signal('light');

function apply() {
  const shown = prefs.theme.value === 'auto' ? (dark.matches ? 'dark' : 'light') : prefs.theme.value;
  document.documentElement.dataset.theme = shown;
  shownTheme.value = shown;
}

effect(apply);
dark.addEventListener('change', apply);
phone.addEventListener('change', () => {
  isPhone.value = phone.matches;
});
