/** Texts for the clipboard, also where the browser offers it to secure pages only. */
import { t } from './i18n.js';
import { toast } from './toasts.js';

/** Copy a text, and say so. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = document.createElement('textarea');
    field.value = text;
    (document.querySelector('dialog[open]') || document.body).append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
  }
  toast(t('Copied'));
}
