/** The list: only the rows near those that are seen are in the document. */
import { html, signal, useLayoutEffect, useRef, useEffect, useSignal } from '../lib.js';
import { language, t } from '../core/i18n.js';
import { hasUsual, prefs } from '../core/prefs.js';
import { go } from '../core/router.js';
import { cursor, extendTo, moveCursor, selectAll, selectNone, selectOnly, selected, toggle } from '../core/select.js';
import { tick, torrents } from '../core/store.js';
import { isPhone, isTouch } from '../core/theme.js';
import { order, sortBy } from '../core/view.js';
import { COLUMNS } from './columns.js';
import { Row } from './row.js';
import { columnMenu, torrentMenu } from './menus.js';

const HEIGHTS = { dense: 30, comfortable: 44, card: 80 };
/** Which of the usual columns go first where there is no room for all. */
const LEAVE = ['added_at', 'ratio', 'peers', 'up', 'size', 'eta', 'down'];
const STEP = 8;
const EXTRA = 8;
const LONG_PRESS_MS = 450;
/** Whether taps mark rows, after a long press on a phone. */
export const isMarking = signal(false);

/** Return the list of torrents. */
export function Grid() {
  const element = useRef(null);
  const view = useSignal({ first: 0, count: 40, width: 1e4 });
  const isCard = isPhone.value;
  const height = isCard ? HEIGHTS.card : prefs.dense.value && !isTouch.value ? HEIGHTS.dense : HEIGHTS.comfortable;
  const hashes = order.value;
  const columns = fitting(prefs.columns.value.filter((key) => key in COLUMNS), view.value.width);
  const measure = () => {
    const { scrollTop, clientHeight, clientWidth: width } = element.current;
    const first = Math.max(0, Math.floor(scrollTop / height / STEP) * STEP - EXTRA);
    const count = Math.ceil(clientHeight / height) + STEP + 2 * EXTRA;
    const now = view.value;
    if (first !== now.first || count !== now.count || width !== now.width) view.value = { first, count, width };
  };
  useLayoutEffect(() => {
    measure();
    const watcher = new ResizeObserver(measure);
    watcher.observe(element.current);
    return () => watcher.disconnect();
  }, [height]);
  useEffect(() => reveal(element.current, height), [cursor.value]);
  void tick.value;
  const { first, count } = view.value;
  const from = Math.max(0, Math.min(first, hashes.length - count));
  const shown = hashes.slice(from, from + count);
  const look = `${columns} ${height} ${language.value} ${prefs.binary.value} ${isMarking.value}`;
  const least = leastWidth(columns);
  const template = isCard ? '1fr' : columns.map((key) => COLUMNS[key].width).join(' ');
  const active = shown.includes(cursor.value) ? `row-${cursor.value}` : undefined;
  return html`<div ref=${element} id="list" class=${isCard ? 'grid cards' : 'grid'} role="grid" tabIndex="0" aria-label=${t('Torrents')} aria-multiselectable="true"
      aria-rowcount=${hashes.length + 1} aria-colcount=${isCard ? 1 : columns.length} aria-activedescendant=${active}
      style=${{ '--columns': template, '--row': `${height}px`, '--least': isCard ? '0' : `${least}px` }}
      onScroll=${measure} onKeyDown=${onKey} onFocus=${onFocus}
      onClick=${onClick} onDblClick=${onDoubleClick} onContextMenu=${onContextMenu}
      onPointerDown=${onPress} onPointerUp=${endPress} onPointerCancel=${endPress} onPointerMove=${onPressMove}>
    <${Header} columns=${columns} isCard=${isCard} />
    <div class="rows" role="rowgroup" style=${{ height: `${hashes.length * height}px` }}>
      <div class="window" role="presentation" style=${{ transform: `translateY(${from * height}px)` }}>
        ${shown.map((hash, at) => html`<${Row} key=${(from + at) % count} row=${torrents.get(hash)} index=${from + at} columns=${columns}
          isSelected=${selected.value.has(hash)} isCursor=${cursor.value === hash} isCard=${isCard} isMarking=${isMarking.value} look=${look} />`)}
      </div>
    </div>
  </div>`;
}

const leastWidth = (columns) => columns.reduce((sum, key) => sum + Number(/\d+/.exec(COLUMNS[key].width)), 16);

/** Return the columns that have room; those that somebody has chosen stay, and scroll. */
function fitting(columns, width) {
  if (!hasUsual('columns')) return columns;
  let found = columns;
  for (const key of LEAVE) if (leastWidth(found) > width) found = found.filter((each) => each !== key);
  return found;
}

function Header({ columns, isCard }) {
  const rules = prefs.sort.value;
  const cells = columns.map((key, at) => {
    const place = rules.findIndex((rule) => rule.key === key);
    const sorted = place < 0 ? 'none' : rules[place].down ? 'descending' : 'ascending';
    const arrow = place < 0 ? '' : rules[place].down ? '↓' : '↑';
    return html`<div key=${key} role="columnheader" aria-colindex=${at + 1} aria-sort=${sorted} class=${COLUMNS[key].isNumber ? 'cell number' : 'cell'}>
      <button type="button" class="plain" tabIndex="-1" onClick=${(event) => sortBy(key, event.shiftKey)}
        title=${t('Sort; with Shift by this too')}>${t(COLUMNS[key].text)} <span class="arrow" aria-hidden="true">${arrow}</span></button></div>`;
  });
  return html`<div class=${isCard ? 'row head unseen' : 'row head'} role="row" aria-rowindex="1" onContextMenu=${(event) => {
    event.preventDefault();
    event.stopPropagation();
    columnMenu(event.clientX, event.clientY);
  }}>${isCard ? html`<div role="columnheader" aria-colindex="1">${t('Torrent')}</div>` : cells}</div>`;
}

/** Scroll so that the row of the keyboard is seen. */
function reveal(element, height) {
  const at = order.value.indexOf(cursor.value);
  if (at < 0) return;
  const head = isPhone.value ? 0 : isTouch.value ? 44 : 32;
  const top = at * height;
  if (top < element.scrollTop) element.scrollTop = top;
  else if (top + height > element.scrollTop + element.clientHeight - head) element.scrollTop = top + height - element.clientHeight + head;
}

const hashAt = (event) => event.target.closest?.('.row[data-hash]')?.dataset.hash;

function onFocus() {
  if (!cursor.value && order.value.length) cursor.value = order.value[0];
}

let wasLongPress = false;

function onClick(event) {
  const hash = hashAt(event);
  if (wasLongPress) {
    wasLongPress = false;
    return;
  }
  if (!hash) {
    if (event.target.closest('.rows') || event.target.id === 'list') leaveSelection();
    return;
  }
  if (isPhone.value) {
    if (isMarking.value) mark(hash);
    else open(hash);
  } else if (event.shiftKey) extendTo(hash);
  else if (event.ctrlKey || event.metaKey) toggle(hash);
  else selectOnly(hash);
}

function mark(hash) {
  toggle(hash);
  if (!selected.value.size) isMarking.value = false;
}

function leaveSelection() {
  selectNone();
  isMarking.value = false;
}

/** Show the details of a torrent. */
export function open(hash) {
  selectOnly(hash);
  go(`t/${hash}/${prefs.panel.value}`);
}

function onDoubleClick(event) {
  const hash = hashAt(event);
  if (hash && !isPhone.value) open(hash);
}

function onContextMenu(event) {
  const hash = hashAt(event);
  if (!hash) return;
  event.preventDefault();
  if (isPhone.value) return;
  if (!selected.value.has(hash)) selectOnly(hash);
  torrentMenu(event.clientX, event.clientY);
}

// -- long presses: marking on a phone -----------------------------------------------------------

let press = null;

function onPress(event) {
  const hash = hashAt(event);
  if (!hash || event.pointerType !== 'touch') return;
  const timer = setTimeout(() => {
    isMarking.value = true;
    wasLongPress = true;
    mark(hash);
    press = null;
  }, LONG_PRESS_MS);
  press = { timer, x: event.clientX, y: event.clientY };
}

function onPressMove(event) {
  if (press && Math.hypot(event.clientX - press.x, event.clientY - press.y) > 10) endPress();
}

function endPress() {
  clearTimeout(press?.timer);
  press = null;
}

// -- keys of the grid ---------------------------------------------------------------------------

function onKey(event) {
  if (event.target.id !== 'list') return;
  const page = Math.max(1, Math.floor(event.currentTarget.clientHeight / 34) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e9, End: 1e9 };
  const isControl = event.ctrlKey || event.metaKey;
  if (event.key in steps && !event.altKey) {
    moveCursor(steps[event.key], { isExtending: event.shiftKey, isKeeping: isControl });
  } else if (event.key === 'Enter' && cursor.value) open(cursor.value);
  else if (isControl && event.key.toLowerCase() === 'a') selectAll();
  else if (event.key === 'Escape' && selected.value.size) leaveSelection();
  else if (event.key === 'ContextMenu' || (event.shiftKey && event.key === 'F10')) {
    if (!selected.value.size && cursor.value) selectOnly(cursor.value);
    const box = document.getElementById(`row-${cursor.value}`)?.getBoundingClientRect();
    if (box) torrentMenu(box.left + 40, box.bottom);
  } else return;
  event.preventDefault();
  event.stopPropagation();
}
