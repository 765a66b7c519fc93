/** Dialogs: the browser keeps the focus in them, and gives it back. */
import { html, signal, useLayoutEffect, useRef } from '../lib.js';
import { t } from '../core/i18n.js';
import { connection } from '../core/session.js';
import { icon } from './icons.js';

/** @type {{value: {view: Function, props: any} | null}} what is open */
export const openDialog = signal(null);

/** Show a dialog. */
export function showDialog(view, props = {}) {
  openDialog.value = { view, props };
}

/** Close the dialog that is open. */
export function closeDialog() {
  openDialog.value = null;
}

/** Return the dialog that is open. */
export function DialogPlace() {
  const open = openDialog.value;
  return open ? html`<${open.view} ...${open.props} />` : null;
}

/** A dialog with a heading, a body that scrolls, and buttons. */
export function Dialog({ title, children, buttons, onSubmit, isWide = false }) {
  const element = useRef(null);
  useLayoutEffect(() => {
    const before = document.activeElement;
    const dialog = element.current;
    dialog.showModal();
    return () => {
      dialog.close(); // what is behind an open one takes no focus
      if (before?.isConnected) before.focus?.();
    };
  }, []);
  const submit = (event) => {
    event.preventDefault();
    onSubmit?.();
  };
  const close = (event) => {
    event.preventDefault();
    closeDialog();
  };
  const onClick = (event) => {
    if (event.target === element.current) closeDialog();
  };
  return html`<dialog ref=${element} class=${isWide ? 'dialog wide' : 'dialog'} aria-labelledby="dialog-title" onCancel=${close} onMouseDown=${onClick}>
    <form onSubmit=${submit} noValidate=${false}>
      <header><h2 id="dialog-title">${title}</h2></header>
      <div class="body">${children}</div>
      ${buttons && html`<footer>${buttons}</footer>`}
      <button type="button" class="plain close" aria-label=${t('Close')} onClick=${closeDialog}>${icon('close')}</button>
    </form>
  </dialog>`;
}

/** The two buttons that most dialogs have. */
export function Buttons({ text, isDanger = false, isDisabled = false }) {
  return html`<button type="button" onClick=${closeDialog}>${t('Cancel')}</button>
    <button type="submit" class=${isDanger ? 'danger' : 'primary'} disabled=${isDisabled || connection.value === 'waiting'}>${text}</button>`;
}
