/** Joins the two links, page to runtime and runtime to backend, into one plain view of the connection. */
import { MainstayError } from "./errors.js";

/** @import { State } from "./store.js" */
/** @import { ConnectionState, ErrorObject } from "../protocol.d.ts" */

/**
 * @typedef {object} ConnectionView
 * @property {ConnectionState} state
 * @property {Date} since the time since which it has that state
 * @property {number} attempt the current or next attempt
 * @property {number | null} max the most attempts in a row, or null without a limit
 * @property {number | null} nextAttemptAt the time of the next attempt, on this page's clock
 * @property {MainstayError | null} lastError
 * @property {"runtime" | "backend"} link the link that this is about: the page's to the
 *   runtime, or the runtime's to the backend
 * @property {string} nextStep the next step in plain words, or an empty text
 */

/** @type {WeakMap<object, MainstayError>} */
const errors = new WeakMap();

/**
 * Returns the error of a report, the same object each time.
 *
 * @param {ErrorObject | MainstayError | null | undefined} reported
 * @returns {MainstayError | null}
 */
export function errorOf(reported) {
  if (!reported) return null;
  const error = errors.get(reported) ?? MainstayError.from(reported);
  errors.set(reported, error);
  return error;
}

/**
 * Returns the state of a page that has no open session.
 *
 * @param {State} state
 * @returns {ConnectionState}
 */
function sessionState({ session, status }) {
  if (session.state === "closed") return "disconnected";
  const isFirst = !status && session.attempt <= 1 && session.state !== "waiting";
  return isFirst || session.state === "open" ? "connecting" : "reconnecting";
}

/**
 * Returns the view of a state. An old snapshot never counts as connected.
 *
 * @param {State} state
 * @returns {ConnectionView}
 */
export function connectionView(state) {
  const { session, connection } = state;
  if (!state.isLive || !connection) {
    return {
      state: sessionState(state),
      since: new Date(session.since),
      attempt: session.attempt,
      max: null,
      nextAttemptAt: session.nextAttemptAt,
      lastError: session.error,
      link: "runtime",
      nextStep: "",
    };
  }
  return {
    state: connection.state,
    since: new Date(connection.since),
    attempt: connection.attempt,
    max: connection.max,
    nextAttemptAt: connection.nextAttemptAt,
    lastError: errorOf(connection.error),
    link: "backend",
    nextStep: connection.next_step,
  };
}

/**
 * Returns whether two views say the same.
 *
 * @param {ConnectionView} a
 * @param {ConnectionView} b
 */
export function isSameView(a, b) {
  return (
    a.state === b.state &&
    a.link === b.link &&
    a.attempt === b.attempt &&
    a.max === b.max &&
    a.nextAttemptAt === b.nextAttemptAt &&
    a.lastError === b.lastError &&
    a.nextStep === b.nextStep &&
    a.since.getTime() === b.since.getTime()
  );
}

/**
 * Returns whether requests can reach the backend now. While nothing is known yet they may.
 *
 * @param {State} state
 */
export function isBackendAvailable(state) {
  if (!state.status)
    return state.session.attempt <= 1 && ["connecting", "open"].includes(state.session.state);
  if (!state.isLive || state.queue?.held) return false;
  return !["reconnecting", "failed", "disconnected"].includes(state.connection?.state ?? "connecting");
}
