import { pageClock } from "./clock.js";
import { handleError, MainstayError, ownError } from "./errors.js";
import { call } from "./listeners.js";

/**
 * @typedef {import("./clock.js").Clock} Clock
 */
/**
 * @typedef {object} RetryOptions
 * @property {number} [retries] 3 if absent
 * @property {number} [minDelayMs] 500 if absent
 * @property {number} [maxDelayMs] 30 s if absent
 * @property {number} [factor] 2 if absent
 * @property {boolean} [jitter] true if absent: half of each delay is random
 * @property {number} [deadlineMs] the longest time in all
 * @property {AbortSignal} [signal]
 * @property {(error: MainstayError, attempt: number) => boolean} [shouldRetry] `error.retryable` if absent
 * @property {(retry: { error: MainstayError, attempt: number, delayMs: number }) => void} [onRetry]
 * @property {Clock} [clock]
 * @property {() => number} [random]
 */

function deadlineError() {
  const message = "The request took longer than it may in all. Try again, or allow it more time.";
  return new MainstayError({ code: "TIMEOUT", reason: "deadline_exceeded", message, retryable: true });
}

/** What the other side asks to wait is capped. */
const RETRY_AFTER_MAX_MS = 60_000;

/**
 * Returns the delay after an attempt. What the other side asks for never shortens it.
 * @param {number} attempt
 * @param {MainstayError} error
 * @param {Required<Pick<RetryOptions, "minDelayMs" | "maxDelayMs" | "factor" | "jitter" | "random">>} options
 */
export function retryDelay(attempt, error, { minDelayMs, maxDelayMs, factor, jitter, random }) {
  const full = Math.min(maxDelayMs, minDelayMs * factor ** (attempt - 1));
  const delay = jitter ? full / 2 + (full / 2) * random() : full;
  return Math.round(Math.max(delay, Math.min(error.retryAfterMs ?? 0, RETRY_AFTER_MAX_MS)));
}

/**
 * Settles as the promise does, or rejects when the signal aborts.
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} signal
 * @returns {Promise<T>}
 */
export function untilAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/**
 * Makes a signal that aborts with another one, or at a deadline. Call `end` when it is not needed any more.
 * @param {AbortSignal | undefined} outer
 * @param {number | undefined} deadlineMs
 * @param {Clock} clock
 */
export function limit(outer, deadlineMs, clock) {
  const controller = new AbortController();
  const onAbort = () => controller.abort(ownError("cancelled", "", outer?.reason));
  const timer = deadlineMs && clock.setTimeout(() => controller.abort(deadlineError()), deadlineMs);
  if (outer?.aborted) onAbort();
  outer?.addEventListener("abort", onAbort);
  const end = () => {
    outer?.removeEventListener("abort", onAbort);
    clock.clearTimeout(/** @type {never} */ (timer));
  };
  return { controller, signal: controller.signal, end };
}

/**
 * Calls `fn` until it succeeds, as the runtime repeats requests. The error has the number of attempts.
 * @template T
 * @param {(signal: AbortSignal, attempt: number) => T | Promise<T>} fn
 * @param {RetryOptions} [options]
 * @returns {Promise<T>}
 */
export async function retry(fn, options = {}) {
  const {
    retries = 3,
    minDelayMs = 500,
    maxDelayMs = 30_000,
    factor = 2,
    jitter = true,
    deadlineMs,
  } = options;
  const {
    clock = pageClock,
    random = Math.random,
    shouldRetry = (error) => error.retryable,
    onRetry,
  } = options;
  const { signal, end } = limit(options.signal, deadlineMs, clock);
  const due = clock.now() + (deadlineMs || Infinity);
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        signal.throwIfAborted();
        return await untilAborted(Promise.resolve(fn(signal, attempt)), signal);
      } catch (thrown) {
        const error = handleError(thrown);
        error.attempts = attempt;
        if (signal.aborted || attempt > retries || !shouldRetry(error, attempt)) throw error;
        const delayMs = retryDelay(attempt, error, { minDelayMs, maxDelayMs, factor, jitter, random });
        if (clock.now() + delayMs >= due) throw error;
        call(onRetry, { error, attempt, delayMs });
        await sleep(delayMs, signal, clock).catch((reason) => {
          reason.attempts = attempt;
          throw reason;
        });
      }
    }
  } finally {
    end();
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @param {Clock} clock
 */
function sleep(ms, signal, clock) {
  /** @type {unknown} */
  let timer;
  const slept = new Promise((resolve) => (timer = clock.setTimeout(() => resolve(undefined), ms)));
  return untilAborted(slept, signal).finally(() => clock.clearTimeout(/** @type {never} */ (timer)));
}
