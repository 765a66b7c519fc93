/** The map of the pieces: which are here, and how many peers have each. */
import { html, useEffect, useRef } from '../lib.js';
import { get } from '../core/api.js';
import { number, percent } from '../core/format.js';
import { t } from '../core/i18n.js';
import { shownTheme } from '../core/theme.js';
import { usePoll } from './poll.js';

const octets = async (path, options) => new Uint8Array(await (await get(path, { ...options, raw: true })).arrayBuffer());

/** Return the map. */
export function Pieces({ row }) {
  const canvas = useRef(null);
  const runs = usePoll(`api/v1/torrents/${row.hash}/pieces?format=runs`, 3).value;
  const available = usePoll(`api/v1/torrents/${row.hash}/availability`, 5, octets).value;
  const count = runs?.piece_count || 0;
  const have = (runs?.runs || []).reduce((sum, [is, length]) => sum + (is ? length : 0), 0);
  const draw = () => canvas.current && count && paint(canvas.current, runs, available instanceof Uint8Array ? available : null);
  useEffect(draw, [runs, available, shownTheme.value]);
  useEffect(() => {
    const watcher = new ResizeObserver(draw);
    watcher.observe(canvas.current);
    return () => watcher.disconnect();
  }, [runs, available]);
  const text = t('{have} of {count} pieces, {share}', { have: number(have), count: number(count), share: percent(count ? have / count : 0) });
  return html`<figure class="pieces"><canvas ref=${canvas} hidden=${!count} role="img" aria-label=${text}></canvas>
    <figcaption class="number">${count ? text : t('No pieces are known before the metadata.')}</figcaption></figure>`;
}

function paint(canvas, { piece_count: count, runs }, available) {
  const scale = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round(canvas.clientHeight * scale));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const colors = getComputedStyle(canvas);
  const context = canvas.getContext('2d');
  const upper = Math.round(height * 0.7);
  context.fillStyle = colors.getPropertyValue('--track');
  context.fillRect(0, 0, width, height);
  context.fillStyle = colors.getPropertyValue('--accent');
  let at = 0;
  for (const [is, length] of runs) {
    const from = (at / count) * width;
    if (is) context.fillRect(from, 0, Math.max(1, (length / count) * width), upper);
    at += length;
  }
  if (available?.length) paintAvailability(context, available, { width, upper, height, color: colors.getPropertyValue('--up') });
}

function paintAvailability(context, available, { width, upper, height, color }) {
  let most = 1;
  for (const each of available) most = Math.max(most, each);
  context.fillStyle = color;
  for (let x = 0; x < width; x += 1) {
    const from = Math.floor((x / width) * available.length);
    const to = Math.max(from + 1, Math.floor(((x + 1) / width) * available.length));
    let least = 255;
    for (let at = from; at < to; at += 1) least = Math.min(least, available[at]);
    context.globalAlpha = least === 0 ? 0 : 0.25 + 0.75 * (least / most);
    context.fillRect(x, upper + 2, 1, height - upper - 2);
  }
  context.globalAlpha = 1;
}
