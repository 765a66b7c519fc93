/** Menus at a place of the page: arrows move, Escape closes, the focus goes back. */
import { html, signal, useEffect, useLayoutEffect, useRef } from '../lib.js';

/** @typedef {{text: string, icon?: any, hint?: string, run?: () => void, isChecked?: boolean, isDanger?: boolean, isOff?: boolean} | null} Item null is a line */
/** @type {{value: {x: number, y: number, items: Item[], label: string} | null}} */
const open = signal(null);
let before = null;

/** Show a menu at a place. */
export function showMenu(x, y, items, label) {
  before = document.activeElement;
  open.value = { x, y, items: items.filter((each) => each !== undefined), label };
}

/** Show a menu below a button. */
export function showMenuAt(button, items, label) {
  const box = button.getBoundingClientRect();
  showMenu(box.left, box.bottom + 4, items, label);
}

/** Close the menu. */
export function closeMenu() {
  if (!open.value) return;
  open.value = null;
  before?.focus?.();
}

/** Return the menu that is open. */
export function MenuPlace() {
  return open.value ? html`<${Menu} key=${open.value} ...${open.value} />` : null;
}

function Menu({ x, y, items, label }) {
  const element = useRef(null);
  useLayoutEffect(() => {
    const menu = element.current;
    const box = menu.getBoundingClientRect();
    menu.style.left = `${Math.max(8, Math.min(x, innerWidth - box.width - 8))}px`;
    menu.style.top = `${Math.max(8, Math.min(y, innerHeight - box.height - 8))}px`;
    menu.querySelector('button:not([disabled])')?.focus();
  }, []);
  useEffect(() => {
    const leave = (event) => {
      if (!element.current?.contains(event.target)) closeMenu();
    };
    document.addEventListener('pointerdown', leave, true);
    window.addEventListener('resize', closeMenu);
    return () => {
      document.removeEventListener('pointerdown', leave, true);
      window.removeEventListener('resize', closeMenu);
    };
  }, []);
  const run = (item) => {
    closeMenu();
    item.run();
  };
  return html`<div ref=${element} class="menu" role="menu" aria-label=${label} onKeyDown=${(event) => onKey(event, element.current)}>
    ${items.map((item) => (item === null
      ? html`<hr role="separator" />`
      : html`<button type="button" role=${item.isChecked === undefined ? 'menuitem' : 'menuitemcheckbox'} aria-checked=${item.isChecked}
          class=${item.isDanger ? 'danger-text' : ''} disabled=${item.isOff} onClick=${() => run(item)}>
          <span class="mark">${item.isChecked ? '✓' : item.icon}</span><span class="text">${item.text}</span>
          ${item.hint && html`<kbd>${item.hint}</kbd>`}</button>`))}
  </div>`;
}

function onKey(event, menu) {
  event.stopPropagation();
  const buttons = [...menu.querySelectorAll('button:not([disabled])')];
  const at = buttons.indexOf(document.activeElement);
  const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
  if (event.key === 'Escape' || event.key === 'Tab') closeMenu();
  else if (event.key in steps) buttons[(steps[event.key] + buttons.length) % buttons.length]?.focus();
  else return;
  event.preventDefault();
}
