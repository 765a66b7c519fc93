/** The messages at the bottom, and what a screen reader says of them. */
import { html } from '../lib.js';
import { t } from '../core/i18n.js';
import { dismiss, toasts } from '../core/toasts.js';
import { icon } from './icons.js';

/** Return the messages that are shown. */
export function Toasts() {
  const run = (each) => {
    dismiss(each.id);
    each.action.run();
  };
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map((each) => html`<div key=${each.id} class=${`toast ${each.kind}`}>
      <span>${each.text}</span>
      ${each.action && html`<button type="button" class="plain" onClick=${() => run(each)}>${each.action.text}</button>`}
      <button type="button" class="plain" aria-label=${t('Dismiss')} onClick=${() => dismiss(each.id)}>${icon('close')}</button>
    </div>`)}
  </div>`;
}
