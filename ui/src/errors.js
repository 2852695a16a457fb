import { toCamel } from "./names.js";

/**
 * @typedef {import("../protocol.d.ts").Code} ErrorCode
 * @typedef {import("../protocol.d.ts").ErrorCause} ErrorCause
 * @typedef {import("../protocol.d.ts").ErrorObject} ErrorObject
 */
/**
 * @typedef {object} ErrorMembers
 * @property {number} [status]
 * @property {string} [details]
 * @property {boolean} retryable
 * @property {number} [retryAfterMs]
 * @property {number} attempts
 * @property {number} [requestId]
 * @property {unknown} [cause]
 * @property {() => ErrorObject} toJSON returns the error as the runtime writes it
 */
/**
 * An error with the members that the runtime gives it. Its code tells which reasons it may have.
 * @typedef {Error & ErrorMembers & ErrorCause} MainstayError
 */
/**
 * What makes an error: members as the runtime names them, or as JavaScript does.
 * @typedef {object} OwnParts
 * @property {ErrorCode} [code]
 * @property {string} [reason]
 * @property {number} [retryAfterMs]
 * @property {number} [requestId]
 * @typedef {Partial<Omit<ErrorObject, "code" | "reason">> & OwnParts} ErrorParts
 */
/**
 * @typedef {object} ErrorClass
 * @property {(thrown: unknown) => MainstayError} from returns any thrown value as a `MainstayError`
 * @property {MainstayError} prototype
 */

const CODES = "NETWORK_ERROR TIMEOUT NOT_FOUND PERMISSION_DENIED INVALID_INPUT SERVER_ERROR".split(" ");

/** The codes of errors. @type {Readonly<{ [C in ErrorCode]: C }>} */
export const ErrorCodes = /** @type {never} */ (
  /* @__PURE__ */ Object.freeze(
    /* @__PURE__ */ Object.fromEntries(/* @__PURE__ */ CODES.map((code) => [code, code])),
  )
);

/** The errors that this side makes: the place of the code, whether a repeat may help, and the message. */
const OWN = /** @type {const} */ ({
  disconnected: [0, true, "There is no connection to the backend. Reconnect, then try again."],
  outcome_unknown: [
    0,
    false,
    "It is not known whether the backend carried this out. Check before doing it again.",
  ],
  unauthenticated: [
    3,
    false,
    "The backend does not know who is asking. Sign in, or check the configured credentials.",
  ],
  unavailable: [5, true, "The backend is not available at the moment. Try again later."],
  timed_out: [1, true, "The backend did not answer in time. Try again, or wait until it is less busy."],
  cancelled: [1, false, "The request was cancelled. Send it again if it is still wanted."],
  queue_full: [5, true, "Too many requests are waiting already. Wait a moment, then try again."],
  invalid_request: [4, false, "The request is not valid and was not sent. Correct it, then try again."],
  invalid_config: [4, false, "The configuration is not valid. Correct it, then start again."],
  internal: [
    5,
    false,
    "Something went wrong inside the application. Try again; if it stays, restart the application.",
  ],
});

const MEMBERS = "code reason status message details retryable retry_after_ms attempts request_id".split(" ");
const DEFAULTS = { code: "SERVER_ERROR", reason: "other", message: "", retryable: false, attempts: 0 };

/**
 * The class of errors. An error is an instance of `Error` without an error's hidden slot. So
 * `structuredClone` keeps all its members.
 * @type {ErrorClass & { new (members: ErrorParts, options?: { cause?: unknown }): MainstayError }}
 */
export const MainstayError = /** @type {never} */ (
  class MainstayError extends Error {
    /**
     * @param {Record<string, unknown>} members
     * @param {{ cause?: unknown }} [options]
     */
    constructor(members, { cause } = {}) {
      super(/** @type {string} */ (members.message));
      const self = Object.create(new.target.prototype);
      const all = /** @type {Record<string, unknown>} */ ({ ...DEFAULTS, ...members });
      self.name = "MainstayError";
      for (const name of MEMBERS) self[toCamel(name)] = all[toCamel(name)] ?? all[name];
      Object.defineProperties(self, { stack: { value: this.stack }, cause: { value: cause } });
      return self;
    }

    toJSON() {
      const self = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (this));
      return Object.fromEntries(MEMBERS.map((name) => [name, self[toCamel(name)]]));
    }

    /** @param {unknown} thrown */
    static from(thrown) {
      return handleError(thrown);
    }
  }
);

/**
 * Makes an error of this side.
 * @param {keyof typeof OWN} reason
 * @param {string} [details]
 * @param {unknown} [cause]
 */
export function ownError(reason, details, cause) {
  const [code, retryable, message] = OWN[reason];
  return new MainstayError(
    { code: /** @type {ErrorCode} */ (CODES[code]), reason, message, details, retryable },
    { cause },
  );
}

/**
 * Returns whether a value is a `MainstayError`, also one that was cloned or came as JSON.
 * @param {unknown} value
 * @returns {value is MainstayError}
 */
export function isMainstayError(value) {
  try {
    const { code, reason, retryable } = /** @type {Record<string, unknown>} */ (value);
    return CODES.includes(String(code)) && typeof reason === "string" && typeof retryable === "boolean";
  } catch {
    return false;
  }
}

/**
 * Returns any thrown value as a `MainstayError`. Never throws.
 * @param {unknown} thrown
 * @returns {MainstayError}
 */
export function handleError(thrown) {
  try {
    if (thrown instanceof MainstayError) return thrown;
    if (isMainstayError(thrown)) return new MainstayError(thrown, thrown);
    const { name, message } = Object(thrown);
    const details = typeof message === "string" ? `${name ?? "Error"}: ${message}` : String(thrown);
    const isLost = name === "TypeError" && /fetch|network|load failed/i.test(message);
    const own = name === "AbortError" ? "cancelled" : name === "TimeoutError" ? "timed_out" : "internal";
    const reason = isLost ? "disconnected" : own;
    return ownError(reason, details.slice(0, 1000), thrown);
  } catch {
    return ownError("internal");
  }
}

/** Reports an error of a listener, so that the others still get their call. @param {unknown} error */
export function reportListenerError(error) {
  (globalThis.reportError ?? console.error)(error);
}
