/** The files of a magnet link before it is added. */
import { html } from '../lib.js';
import { t } from '../core/i18n.js';

/** Return what is said of a magnet link. */
export function MagnetPreview() {
  return html`<p class="hint">${t('The files are known when a peer has sent the metadata.')}</p>`;
}
