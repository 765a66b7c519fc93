/** The frame of a page beside the list. */
import { html, useEffect, useRef } from '../lib.js';
import { t } from '../core/i18n.js';
import { go } from '../core/router.js';
import { icon } from '../ui/icons.js';

/** Return a page with its heading and a way back. */
export function Page({ title, children, extra }) {
  const element = useRef(null);
  useEffect(() => {
    element.current.focus();
    return () => requestAnimationFrame(() => document.getElementById('list')?.focus());
  }, []);
  return html`<main ref=${element} class="page" id="main" tabIndex="-1"><header><button type="button" class="plain back" aria-label=${t('Back to the torrents')} onClick=${() => go('')}>${icon('chevron')}</button>
    <h1>${title}</h1><span class="space"></span>${extra}</header>${children}</main>`;
}
