/** The three libraries as one module: nodes, hooks and signals. */
import { h, render, Component } from './vendor/preact.mjs';
import htm from './vendor/htm.mjs';

export const html = htm.bind(h);
export { h, render, Component };
export { useState, useEffect, useLayoutEffect, useMemo, useRef, useCallback } from './vendor/hooks.mjs';
export { signal, computed, effect, batch, untracked } from './vendor/signals-core.mjs';
export { useSignal, useComputed, useSignalEffect } from './vendor/signals.mjs';
