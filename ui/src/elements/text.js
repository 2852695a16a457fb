/**
 * The one table with every text of the elements.
 *
 * `{name}` stands for a value. Two forms with `|` between them are for `n` = 1 and for other numbers. A function
 * gets the values, for languages with more forms.
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
  // Agents.
  agents: "Agents",
  noAgents: "There are no agents.",
  healthy: "Healthy",
  degraded: "Degraded",
  failed: "Failed",
  restarting: "Restarting",
  starting: "Starting",
  stopped: "Stopped",
  unknown: "Unknown",
  "step-healthy": "Checked regularly",
  "step-degraded": "Answers, and reports trouble",
  "step-misses": "{n} check missed, restarts after {left} more|{n} checks missed, restarts after {left} more",
  "step-failed": "Restarts soon",
  "step-gave-up": "Given up, reset gives its restarts back",
  "step-restarting": "Restarts {when}",
  "step-starting": "Waits for its first good check",
  "step-stopped": "Runs again after a start",
  "step-unknown": "Checked again once the backend answers",
  "step-question": "Waits for an answer",
  restarts: "{n} restart|{n} restarts",
  budget: "{n} of {max} left",
  noLimit: "no limit",
  restart: "Restart",
  start: "Start",
  stop: "Stop",
  reset: "Reset",
  actOn: "{action}: {id}",
  confirm: "{action} {id}?",
  confirmWork: "It works on {n} message, whose outcome may stay unknown.|" +
    "It works on {n} messages, whose outcome may stay unknown.",
  confirmIdle: "It takes no messages until it runs again.",
  keep: "Cancel",
  // A conversation.
  conversation: "Conversation with {id}",
  prompt: "Message to {id}",
  send: "Send",
  waiting: "Waits for {id}",
  answering: "Answers …",
  cancel: "Cancel",
  cancelled: "Cancelled",
  answered: "{id} has answered: {answer}",
  asks: "{id} asks",
  answer: "Answer",
  broken: "Broken off. {id} may have acted on it: look before you send it again.",
  edit: "Back to the prompt",
  lostUpdates: "{n} update is missing|{n} updates are missing",
  percent: "{n} %",
  // Requests.
  requests: "Requests",
  noRequests: "No requests are open.",
  counts: "{running} running, {waiting} waiting",
  "phase-running": "Running",
  "phase-waiting": "Waiting",
  "phase-backing_off": "Next attempt",
  held: "Held",
  age: "{n} s",
  priority: "Priority",
  high: "High",
  normal: "Normal",
  low: "Low",
  // Events.
  events: "Events",
  kind: "Kind",
  allKinds: "All kinds",
  search: "Search",
  shown: "{n} event|{n} events",
  noEvents: "No events.",
  newest: "Newest",
  missing: "Events are missing here",
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
  const entry = table[key] ?? key;
  if (typeof entry === "function") return entry(values);
  const [one, many = one] = entry.split("|");
  return (values.n === 1 ? one : many).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

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
  error ? (table[`reason.${error.reason}`] ? text(`reason.${error.reason}`) : error.message ?? "") : "";

/**
 * Calls a listener after each `setText`.
 * @param {() => void} listener
 */
export function onText(listener) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}
