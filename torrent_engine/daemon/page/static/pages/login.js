/** The login form. */
import { html, useSignal } from '../lib.js';
import { t } from '../core/i18n.js';
import { logIn } from '../core/session.js';

/** Return the form. */
export function Login() {
  const password = useSignal('');
  const error = useSignal('');
  const isBusy = useSignal(false);
  const submit = async (event) => {
    event.preventDefault();
    isBusy.value = true;
    error.value = '';
    try {
      await logIn('', password.value);
    } catch (problem) {
      error.value = messageOf(problem);
    }
    isBusy.value = false;
  };
  return html`<main class="login"><form onSubmit=${submit}>
    <h1>torrent_engine</h1>
    <label class="field"><span>${t('Password or token')}</span><input type="password" id="password" name="password" autofocus required autocomplete="current-password" value=${password}
      aria-invalid=${error.value ? 'true' : undefined} aria-describedby="login-error" onInput=${(event) => { password.value = event.target.value; }} /></label>
    <p id="login-error" class="bad" role="alert">${error.value}</p>
    <button type="submit" class="primary" disabled=${isBusy.value}>${isBusy.value ? t('Checking…') : t('Log in')}</button>
    <p class="hint">${t('On the machine of the daemon, “torrent-engine daemon open” logs you in, and “torrent-engine daemon token” prints the token.')}</p>
  </form></main>`;
}

function messageOf(problem) {
  if (problem.status === 401) return t('The password or token is wrong.');
  if (problem.status === 429) return t('Too many failed logins. Try again later.');
  if (problem.status === 0) return t('Not connected to the daemon');
  return problem.message;
}
