/** The words and colours of what a torrent does. */
import { t } from '../core/i18n.js';

const WORDS = {
  stopped: 'Stopped', paused: 'Paused', check_queued: 'Waiting for check', checking: 'Checking',
  download_queued: 'Queued', metadata: 'Fetching metadata', downloading: 'Downloading',
  seed_queued: 'Queued', seeding: 'Seeding', finished: 'Finished', error: 'Error',
};
const KINDS = {
  downloading: 'down', metadata: 'down', seeding: 'up', checking: 'busy', error: 'bad', finished: 'quiet',
};

/** Return the word of a status. */
export function statusText(row) {
  if (row.is_moving) return t('Moving');
  if (row.status === 'downloading' && row.is_stalled) return t('No peers send');
  return t(WORDS[row.status] || row.status);
}

/** Return what colours a status: down, up, busy, bad or quiet. */
export const statusKind = (row) => (row.error && row.status === 'error' ? 'bad' : KINDS[row.status] || 'quiet');

/** Return the fraction that the bar shows: of the check, or of the download. */
export const shownProgress = (row) => (row.status === 'checking' ? row.checked_fraction : row.progress);
