/** One row of the list, drawn again only if it changed. */
import { Component, html } from '../lib.js';
import { bytes, duration, rate, ratio } from '../core/format.js';
import { t } from '../core/i18n.js';
import { COLUMNS, Progress } from './columns.js';
import { statusKind, statusText } from './status.js';

/** A row of the table, or a card on a phone. */
export class Row extends Component {
  shouldComponentUpdate(next) {
    const now = this.props;
    return next.row !== now.row || next.isSelected !== now.isSelected || next.isCursor !== now.isCursor
      || next.index !== now.index || next.look !== now.look;
  }

  render({ row, index, isSelected, isCursor, columns, isCard, isMarking }) {
    const kinds = `row${isSelected ? ' selected' : ''}${isCursor ? ' cursor' : ''}${row.is_pending ? ' pending' : ''}`;
    return html`<div class=${kinds} role="row" id=${`row-${row.hash}`} data-hash=${row.hash} aria-rowindex=${index + 2} aria-selected=${isSelected}>
      ${isCard ? card(row, isSelected, isMarking) : columns.map((key, at) => html`<div key=${key} role="gridcell" aria-colindex=${at + 1}
        class=${COLUMNS[key].isNumber ? 'cell number' : 'cell'}>${COLUMNS[key].cell(row)}</div>`)}
    </div>`;
  }
}

function card(row, isSelected, isMarking) {
  const rates = [row.download_bytes_per_s > 0 && `↓ ${rate(row.download_bytes_per_s)}`, row.upload_bytes_per_s > 0 && `↑ ${rate(row.upload_bytes_per_s)}`];
  const facts = row.error ? row.error.message : !row.total_bytes ? '' : row.progress < 1
    ? `${bytes(row.wanted_bytes || row.total_bytes)}${row.eta_s ? ` · ${duration(row.eta_s, true)}` : ''}`
    : `${bytes(row.total_bytes)} · ${t('Ratio')} ${ratio(row.ratio)}`;
  return html`<div role="gridcell" aria-colindex="1" class="card">
    ${isMarking && html`<span class="box" aria-hidden="true">${isSelected ? '✓' : ''}</span>`}
    <div class="lines"><div class="line"><span class="name">${row.name}</span></div>
      <div class="line track"><${Progress} row=${row} /></div>
      <div class="line small"><span class=${`status ${statusKind(row)}`}>${statusText(row)}</span><span class="number">${facts}</span>
        <span class="number end">${rates.filter(Boolean).join('  ')}</span></div></div>
  </div>`;
}
