/** What is asked again and again while it is shown. */
import { useEffect, useSignal } from '../lib.js';
import { get } from '../core/api.js';

/** Return a signal with the answer of a path, asked each `seconds` while the page is seen; null before. */
export function usePoll(path, seconds, read = get) {
  const found = useSignal(null);
  const again = useSignal(0);
  useEffect(() => {
    let timer = 0;
    let isOver = false;
    const control = new AbortController();
    const next = async () => {
      try {
        if (!document.hidden) found.value = await read(path, { signal: control.signal });
      } catch (error) {
        if (error.name !== 'AbortError' && found.value === null) found.value = { error: error.message };
      }
      if (!isOver) timer = setTimeout(next, seconds * 1000);
    };
    next();
    return () => {
      isOver = true;
      clearTimeout(timer);
      control.abort();
    };
  }, [path, again.value]);
  found.refresh = () => {
    again.value += 1;
  };
  return found;
}
