/** A table, whose rows are cards where it is narrow. */
import { html } from '../lib.js';
import { t } from '../core/i18n.js';

/** Return a table; `heads` are English texts, and a cell is its content and its classes. */
export function Table({ heads, rows, text }) {
  const names = heads.map((each) => t(each));
  return html`<div class="table" tabIndex="0" role="region" aria-label=${text}><table>
    <thead><tr>${names.map((name) => html`<th key=${name} scope="col">${name}</th>`)}</tr></thead>
    <tbody>${rows.map(({ key, cells }) => html`<tr key=${key}>${cells.map(([content, kind = ''], at) => html`<td class=${kind} data-head=${names[at]}>${content}</td>`)}</tr>`)}</tbody></table></div>`;
}
