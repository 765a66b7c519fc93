/** Icons: strokes on a grid of 16, in the colour of the text. Names stand beside them, not in them. */
import { html } from '../lib.js';

const PATHS = {
  add: 'M8 3v10M3 8h10',
  play: 'M5 3l8 5-8 5z',
  pause: 'M5.5 3v10M10.5 3v10',
  remove: 'M3 4.5h10M6 4.5V3h4v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5M6.8 7v4M9.2 7v4',
  search: 'M7 2.5a4.5 4.5 0 100 9 4.5 4.5 0 000-9zM10.4 10.4L14 14',
  close: 'M4 4l8 8M12 4l-8 8',
  menu: 'M2.5 4h11M2.5 8h11M2.5 12h11',
  more: 'M8 3a.4.4 0 100 .1M8 8a.4.4 0 100 .1M8 13a.4.4 0 100 .1',
  down: 'M8 3v9M4 8.5L8 12.5l4-4',
  up: 'M8 13V4M4 7.5L8 3.5l4 4',
  turtle: 'M2 11a6 6 0 1112 0M8 11l3-4M2 11h2M12 11h2',
  filter: 'M2.5 3.5h11L9.5 8.5v3.5l-3 1.5v-5z',
  settings: 'M3 4.5h6M12 4.5h1M3 11.5h1M7 11.5h6M10.5 3v3M5.5 10v3',
  jobs: 'M3 4h2M3 8h2M3 12h2M7 4h6M7 8h6M7 12h6',
  health: 'M1.5 8.5h3l2-5 3 9 2-4h3',
  folder: 'M2 12.5v-9h4l1.5 2H14v7z',
  file: 'M4 2.5h5l3 3v8H4zM9 2.5v3h3',
  tag: 'M2.5 2.5h5l6 6-5 5-6-6zM5.2 5.2v.1',
  tracker: 'M8 14V8M8 8a1.2 1.2 0 100-.1M4.5 11a5 5 0 010-6.5M11.5 11a5 5 0 000-6.5',
  chevron: 'M6 4l4 4-4 4',
  check: 'M3 8.5l3.5 3.5L13 5',
  error: 'M8 2l6.5 11.5h-13zM8 6.5v3.2M8 11.6v.1',
  queue: 'M3 4h10M3 8h7M3 12h4',
  link: 'M6.5 9.5l3-3M7 4.5l1.6-1.6a3 3 0 014.3 4.3L11.5 8.6M9 11.5l-1.6 1.6a3 3 0 01-4.3-4.3L4.5 7.4',
  columns: 'M2.5 3h11v10h-11zM6.2 3v10M9.8 3v10',
  help: 'M6 6a2 2 0 114 0c0 1.5-2 1.5-2 3.2M8 12v.1',
  logout: 'M9.5 3H3v10h6.5M7 8h7M11.5 5.5L14 8l-2.5 2.5',
  all: 'M2.5 4h11M2.5 8h11M2.5 12h11',
  active: 'M9 1.8L4 9h4l-1 5.2L12 7H8z',
  stalled: 'M4 2.5h8M4 13.5h8M5 2.5c0 3 6 8 6 11M11 2.5c0 3-6 8-6 11',
};

/** Return an icon. */
export const icon = (name) => html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
