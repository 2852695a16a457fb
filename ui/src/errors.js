/**
 * @typedef {import("../protocol.d.ts").ErrorCode} ErrorCode
 * @typedef {import("../protocol.d.ts").ErrorObject} ErrorObject
 * @typedef {import("../protocol.d.ts").Reason} Reason
 */

/** The codes of errors. @type {Readonly<{ [C in ErrorCode]: C }>} */
export const ErrorCodes = Object.freeze({
  NETWORK_ERROR: "NETWORK_ERROR",
  TIMEOUT: "TIMEOUT",
  NOT_FOUND: "NOT_FOUND",
  PERMISSION_DENIED: "PERMISSION_DENIED",
  INVALID_INPUT: "INVALID_INPUT",
  SERVER_ERROR: "SERVER_ERROR",
});

/** The errors that this side makes: code, message, and whether a repeat may help. */
const OWN = {
  disconnected: ["NETWORK_ERROR", "There is no connection to the backend. Reconnect, then try again.", true],
  outcome_unknown: [
    "NETWORK_ERROR", "It is not known whether the backend carried this out. Check before doing it again.", false,
  ],
  unauthenticated: [
    "PERMISSION_DENIED", "The backend does not know who is asking. Sign in, or check the configured credentials.", false,
  ],
  unavailable: ["SERVER_ERROR", "The backend is not available at the moment. Try again later.", true],
  timed_out: ["TIMEOUT", "The backend did not answer in time. Try again, or wait until it is less busy.", true],
  deadline_exceeded: ["TIMEOUT", "The request took longer than it may in all. Try again, or allow it more time.", true],
  cancelled: ["TIMEOUT", "The request was cancelled. Send it again if it is still wanted.", false],
  queue_full: ["SERVER_ERROR", "Too many requests are waiting already. Wait a moment, then try again.", true],
  invalid_request: ["INVALID_INPUT", "The request is not valid and was not sent. Correct it, then try again.", false],
  invalid_config: ["INVALID_INPUT", "The configuration is not valid. Correct it, then start again.", false],
  internal: [
    "SERVER_ERROR",
    "Something went wrong inside the application. Try again; if it stays, restart the application.",
    false,
  ],
};

/** @typedef {keyof typeof OWN} OwnReason */

/**
 * An error with the members that the runtime gives it.
 * It is an instance of `Error` without an error's hidden slot. So `structuredClone` keeps all its members.
 * @implements {Error}
 */
export class MainstayError extends Error {
  /** @type {ErrorCode} */ code = "SERVER_ERROR";
  /** @type {Reason} */ reason = "other";
  /** @type {number | undefined} */ status = undefined;
  /** @type {string | undefined} */ details = undefined;
  /** @type {boolean} */ retryable = false;
  /** @type {number | undefined} */ retryAfterMs = undefined;
  /** @type {number} */ attempts = 0;
  /** @type {number | undefined} */ requestId = undefined;

  /**
   * @param {Partial<Omit<ErrorObject, "code" | "reason">> & { code?: ErrorCode, reason?: string, retryAfterMs?: number, requestId?: number }} members
   * @param {{ cause?: unknown }} [options]
   */
  constructor(members, { cause } = {}) {
    super(members.message);
    const self = /** @type {MainstayError} */ (Object.create(new.target.prototype));
    Object.assign(self, {
      name: "MainstayError",
      code: members.code ?? "SERVER_ERROR",
      reason: members.reason ?? "other",
      status: members.status ?? undefined,
      message: members.message ?? "",
      details: members.details ?? undefined,
      retryable: members.retryable === true,
      retryAfterMs: members.retryAfterMs ?? members.retry_after_ms ?? undefined,
      attempts: members.attempts ?? 0,
      requestId: members.requestId ?? members.request_id ?? undefined,
    });
    for (const [name, value] of /** @type {const} */ ([["stack", this.stack], ["cause", cause]])) {
      Object.defineProperty(self, name, { value, writable: true, configurable: true });
    }
    return self;
  }

  /** Returns the error as the runtime writes it. @returns {ErrorObject} */
  toJSON() {
    const { code, reason, status, message, details, retryable, retryAfterMs, attempts, requestId } = this;
    return /** @type {ErrorObject} */ ({
      code, reason, status, message, details, retryable, retry_after_ms: retryAfterMs, attempts, request_id: requestId,
    });
  }

  /** Returns any thrown value as a `MainstayError`. Never throws. @param {unknown} thrown */
  static from(thrown) {
    return handleError(thrown);
  }
}

/**
 * Makes an error of this side.
 * @param {OwnReason} reason
 * @param {string} [details]
 * @param {{ cause?: unknown, code?: ErrorCode, attempts?: number, retryable?: boolean }} [more]
 */
export function ownError(reason, details, more = {}) {
  const [code, message, retryable] = /** @type {[ErrorCode, string, boolean]} */ (OWN[reason]);
  return new MainstayError({ code, message, retryable, ...more, reason, details }, more);
}

/**
 * Returns whether a value is a `MainstayError`, also one that was cloned or came as JSON.
 * @param {unknown} value
 * @returns {value is MainstayError}
 */
export function isMainstayError(value) {
  try {
    const error = /** @type {Partial<MainstayError> | null} */ (value);
    return (
      typeof error === "object" && !!error && Object.hasOwn(ErrorCodes, String(error.code)) &&
      typeof error.reason === "string" && typeof error.retryable === "boolean"
    );
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
    if (isMainstayError(thrown)) return new MainstayError(thrown, { cause: /** @type {Error} */ (thrown).cause });
    const { name, message } = Object(thrown);
    const details = describe(thrown, name, message);
    if (name === "AbortError") return ownError("cancelled", details, { cause: thrown });
    if (name === "TimeoutError") return ownError("timed_out", details, { cause: thrown });
    if (name === "TypeError" && /fetch|network|load failed/i.test(String(message))) {
      return ownError("disconnected", details, { cause: thrown });
    }
    return ownError("internal", details, { cause: thrown });
  } catch {
    return ownError("internal", "the thrown value cannot be read");
  }
}

/**
 * @param {unknown} thrown
 * @param {unknown} name
 * @param {unknown} message
 */
function describe(thrown, name, message) {
  const text = typeof message === "string" ? (name ? `${name}: ${message}` : message) : String(thrown);
  return text.slice(0, 1000);
}

/** Reports an error of a listener, so that the others still get their call. @param {unknown} error */
export function reportListenerError(error) {
  if (typeof reportError === "function") reportError(error);
  else console.error(error);
}
