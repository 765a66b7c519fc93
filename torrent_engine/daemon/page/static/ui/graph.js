/** A graph of two rates over time, drawn on a canvas. */
import { html, useEffect, useRef } from '../lib.js';
import { fullRate } from '../core/format.js';
import { t } from '../core/i18n.js';
import { shownTheme } from '../core/theme.js';

/** Return the graph of samples `[seconds, down, up]`, oldest first, over the last `span` seconds. */
export function Graph({ samples, span, step }) {
  const canvas = useRef(null);
  const draw = () => canvas.current && paint(canvas.current, samples, span, step);
  useEffect(draw, [samples, span, shownTheme.value]);
  useEffect(() => {
    const watcher = new ResizeObserver(draw);
    watcher.observe(canvas.current);
    return () => watcher.disconnect();
  }, [samples, span]);
  const last = samples.at(-1) || [0, 0, 0];
  const most = samples.reduce((now, each) => Math.max(now, each[1], each[2]), 0);
  const text = t('Down {down}, up {up}, at most {most}', { down: fullRate(last[1]), up: fullRate(last[2]), most: fullRate(most) });
  return html`<figure class="graph"><canvas ref=${canvas} role="img" aria-label=${text}></canvas><figcaption><span class="status down">↓ ${fullRate(last[1])}</span> <span class="status up">↑ ${fullRate(last[2])}</span> · ${t('at most {most}', { most: fullRate(most) })}</figcaption></figure>`;
}

function niceTop(value) {
  if (value <= 0) return 1000;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= value);
}

function paint(canvas, samples, span, step) {
  const scale = devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round(canvas.clientHeight * scale));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext('2d');
  const colors = getComputedStyle(canvas);
  const color = (name) => colors.getPropertyValue(name);
  context.clearRect(0, 0, width, height);
  const end = samples.at(-1)?.[0] ?? 0;
  const shown = samples.filter((each) => each[0] >= end - span);
  const top = niceTop(shown.reduce((now, each) => Math.max(now, each[1], each[2]), 0));
  grid(context, { width, height, scale, top, line: color('--line'), ink: color('--quiet') });
  const place = (sample, which) => [width * (1 - (end - sample[0]) / Math.max(span - step, 1)), height - (sample[which] / top) * (height - 4 * scale)];
  line(context, shown.map((each) => place(each, 2)), { color: color('--up'), height, scale });
  line(context, shown.map((each) => place(each, 1)), { color: color('--accent'), height, scale });
}

function grid(context, { width, height, scale, top, line: stroke, ink }) {
  context.strokeStyle = stroke;
  context.fillStyle = ink;
  context.lineWidth = scale;
  context.font = `${11 * scale}px system-ui, sans-serif`;
  for (const share of [0.25, 0.5, 0.75, 1]) {
    const y = Math.round(height - share * (height - 4 * scale)) + 0.5;
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(width, y);
    context.stroke();
    if (share === 0.5 || share === 1) context.fillText(fullRate(top * share), 4 * scale, y + 13 * scale);
  }
}

function line(context, points, { color, height, scale }) {
  if (points.length < 2) return;
  context.beginPath();
  points.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.strokeStyle = color;
  context.lineWidth = 1.5 * scale;
  context.stroke();
  context.lineTo(points.at(-1)[0], height);
  context.lineTo(points[0][0], height);
  context.globalAlpha = 0.12;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
}
