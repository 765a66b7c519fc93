/** Magnet links, info-hashes and addresses in texts that people paste. */

const SOURCE = /magnet:\?[^\s<>"]+|https?:\/\/[^\s<>"]+|\b[0-9a-fA-F]{40}\b|\b[A-Za-z2-7]{32}\b/g;

/** Return the sources of torrents in a text, each once. */
export function sourcesIn(text) {
  return [...new Set(String(text).match(SOURCE) || [])];
}

/** Return an address if it may become a link, else null. */
export function webLink(text) {
  try {
    const found = new URL(text);
    return found.protocol === 'http:' || found.protocol === 'https:' ? found.href : null;
  } catch {
    return null;
  }
}

/** Return a file as base64. */
export async function base64Of(file) {
  const data = new Uint8Array(await file.arrayBuffer());
  let text = '';
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text);
}
