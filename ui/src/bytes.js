const CHARS_MAX = 0x8000;

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += CHARS_MAX) {
    text += String.fromCharCode(...bytes.subarray(at, at + CHARS_MAX));
  }
  return btoa(text);
}
