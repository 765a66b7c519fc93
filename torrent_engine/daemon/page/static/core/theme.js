/** Light, dark, or as the system is. */
import { effect, signal } from '../lib.js';
import { prefs } from './prefs.js';

const dark = matchMedia('(prefers-color-scheme: dark)');
const phone = matchMedia('(max-width: 720px)');
const narrow = matchMedia('(max-width: 900px)');
const coarse = matchMedia('(pointer: coarse), (max-width: 720px)');
/** Whether the page is as narrow as a phone. */
export const isPhone = signal(phone.matches);
/** Whether there is no room for many columns. */
export const isNarrow = signal(narrow.matches);
/** Whether fingers point, which need 44 pixels. */
export const isTouch = signal(coarse.matches);
/** The theme that is shown; canvases are drawn again when it changes. */
export const shownTheme = signal('light');

function apply() {
  const shown = prefs.theme.value === 'auto' ? (dark.matches ? 'dark' : 'light') : prefs.theme.value;
  document.documentElement.dataset.theme = shown;
  shownTheme.value = shown;
}

effect(apply);
dark.addEventListener('change', apply);
for (const [media, shown] of [[phone, isPhone], [narrow, isNarrow], [coarse, isTouch]]) {
  media.addEventListener('change', () => {
    shown.value = media.matches;
  });
}
