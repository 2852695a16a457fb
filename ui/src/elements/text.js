/**
 * The one table with every text of the elements. `more.js` adds those of the elements that are loaded
 * later.
 *
 * `{name}` stands for a value. Two forms with `|` between them are for `n` = 1 and for other numbers. A
 * function gets the values, for languages with more forms.
 *
 * @typedef {Record<string, unknown>} TextValues
 * @typedef {string | ((values: TextValues) => string)} TextEntry
 */

/** @type {Record<string, TextEntry>} */
const table = {
  // The connection.
  "link-connecting": "Connecting",
  "link-disconnected": "Not connected",
  "link-reconnecting": "Connection lost",
  "link-failed": "Connection failed",
  page: "No contact with the application",
  back: "Connected again",
  attempt: "Attempt {n}",
  attemptOf: "Attempt {n} of {max}",
  inSeconds: "in {n} s",
  now: "now",
  reconnect: "Reconnect now",
  dialling: "Connecting …",
  paused: "No further attempt is planned.",
  asked: "It was ended on request.",
  stillFailed: "Still no connection. {reason}",
  old: "Last known state, without contact",
  // Notices.
  notices: "Notices",
  error: "Error",
  warning: "Warning",
  info: "Note",
  unknownOutcome: "Outcome unknown",
  tryAgain: "Try again",
  details: "Details",
  copy: "Copy",
  copied: "Copied",
  notCopied: "Not copied",
  close: "Close: {title}",
  times: "×{n}",
  again: "{message} ({n} times)",
  more: "{n} more",
  tries: "attempt {n}",
};

/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * Returns a text of the table. An unknown key is its own text.
 * @param {string} key
 * @param {TextValues} [values]
 * @returns {string}
 */
export function text(key, values = {}) {
  const entry = Object.hasOwn(table, key) ? table[key] : key;
  if (typeof entry === "function") return entry(values);
  const [one, many = one] = entry.split("|");
  return (values.n === 1 ? one : many).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/**
 * Adds texts that have not been replaced before.
 * @param {Record<string, TextEntry>} entries
 */
export const addText = (entries) => void Object.assign(table, { ...entries, ...table });

/**
 * Replaces texts and renders every element again. Keys `reason.NAME` replace messages of errors.
 * @param {Record<string, TextEntry>} entries
 */
export function setText(entries) {
  Object.assign(table, entries);
  for (const listener of listeners) listener();
}

/**
 * Returns an error's message for a person.
 * @param {{reason?: string, message?: string} | null | undefined} error
 */
export const messageOf = (error) =>
  error ? (table[`reason.${error.reason}`] ? text(`reason.${error.reason}`) : (error.message ?? "")) : "";

/**
 * Calls a listener after each `setText`.
 * @param {() => void} listener
 */
export function onText(listener) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}
