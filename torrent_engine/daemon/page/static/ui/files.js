/** A tree of files; only the lines that are seen are in the document. */
import { html, useRef, useSignal } from '../lib.js';
import { bytes, percent } from '../core/format.js';
import { t } from '../core/i18n.js';
import { linesOf, treeOf } from '../core/tree.js';
import { isNarrow, isTouch } from '../core/theme.js';
import { icon } from './icons.js';

const SHOWN = 60;

/**
 * Return a tree.
 * @param {{files: any[], isOn: (index: number) => boolean, setOn?: (indices: number[], isOn: boolean) => void, extra?: (node: any) => any, hasProgress?: boolean}} props
 */
export function FileTree({ files, isOn, setOn, extra, hasProgress = false }) {
  const memory = useRef({ files: null, root: null });
  if (memory.current.files !== files) memory.current = { files, root: treeOf(files) };
  const root = memory.current.root;
  const open = useSignal(null);
  if (open.value === null) open.value = new Set(files.length <= 500 ? foldersOf(root) : [...root.children.values()].map((each) => each.path));
  const first = useSignal(0);
  const isTall = extra && isNarrow.value;
  const height = isTall ? 96 : !isTouch.value ? 30 : extra ? 52 : 44;
  const lines = linesOf(root, open.value);
  const from = Math.max(0, Math.min(first.value, lines.length - SHOWN));
  const onScroll = (event) => {
    first.value = Math.max(0, Math.floor(event.currentTarget.scrollTop / height / 10) * 10 - 10);
  };
  const turn = (path) => {
    const next = new Set(open.value);
    if (!next.delete(path)) next.add(path);
    open.value = next;
  };
  return html`<div class=${isTall ? 'tree tall' : 'tree'} role="tree" aria-label=${t('Files')} tabIndex="0" onScroll=${onScroll} style=${{ '--line-height': `${height}px` }}><div role="presentation" style=${{ height: `${lines.length * height}px` }}>
    <div role="presentation" style=${{ transform: `translateY(${from * height}px)` }}>
    ${lines.slice(from, from + SHOWN).map((at) => html`<${Line} key=${at.path + at.files[0]} at=${at} isOpen=${open.value.has(at.path)} turn=${turn} isOn=${isOn} setOn=${setOn} extra=${extra} hasProgress=${hasProgress} />`)}
    </div></div></div>`;
}

function foldersOf(root) {
  const found = [];
  const add = (at) => {
    for (const child of at.children.values()) {
      if (child.file) continue;
      found.push(child.path);
      add(child);
    }
  };
  add(root);
  return found;
}

function Line({ at, isOpen, turn, isOn, setOn, extra, hasProgress }) {
  const on = at.files.reduce((sum, index) => sum + (isOn(index) ? 1 : 0), 0);
  const state = on === at.files.length ? true : on ? null : false;
  const setState = (box) => {
    if (box) box.indeterminate = state === null;
  };
  return html`<div class="tree-line" role="treeitem" aria-level=${at.depth + 1} aria-expanded=${at.file ? undefined : isOpen} aria-label=${at.name} aria-selected="false" style=${{ '--depth': at.depth }}>
    ${at.file ? html`<span class="turn"></span>` : html`<button type="button" class=${isOpen ? 'plain turn open' : 'plain turn'} aria-label=${at.name} onClick=${() => turn(at.path)}>${icon('chevron')}</button>`}
    ${setOn && html`<label class="tick"><input type="checkbox" aria-label=${at.name} checked=${state === true} ref=${setState} onChange=${(event) => setOn(at.files, event.target.checked)} /></label>`}
    ${icon(at.file ? 'file' : 'folder')}<span class="name" title=${at.name}>${at.name}</span>
    ${hasProgress && html`<span class="number share">${at.size ? percent(at.done / at.size) : ''}</span>`}
    <span class="number size">${bytes(at.size)}</span>${extra?.(at)}</div>`;
}
