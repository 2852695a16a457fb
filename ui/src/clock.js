/**
 * @typedef {object} Clock
 * @property {() => number} now the wall time in milliseconds
 * @property {(task: () => void, ms: number) => unknown} setTimeout
 * @property {(timer: never) => void} clearTimeout
 * @typedef {() => void} Unsubscribe
 */

/** The page's clock. It looks the timers up at each call, so fake timers work. @type {Clock} */
export const pageClock = {
  now: () => Date.now(),
  setTimeout: (task, ms) => globalThis.setTimeout(task, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

/** Returns whether the page is hidden. */
export function isHidden() {
  return globalThis.document?.visibilityState === "hidden";
}

/**
 * Makes a timer for one task at a time.
 * @param {Clock} clock
 */
export function createTimer(clock) {
  /** @type {unknown} */
  let timer;
  const clear = () => clock.clearTimeout(/** @type {never} */ (timer));
  return {
    clear,
    /**
     * Plans a task in place of the one before.
     * @param {() => void} task
     * @param {number} ms
     */
    set(task, ms) {
      clear();
      timer = clock.setTimeout(task, ms);
    },
  };
}

const FRAME_MS = 16;
/** A frame comes no later than this, also if the page was hidden meanwhile. */
const FRAME_MAX_MS = 200;

/**
 * Returns a function that plans the task for the next animation frame, or soon if there are no frames.
 * @param {Clock} clock
 * @param {() => void} task
 */
export function eachFrame(clock, task) {
  const timer = createTimer(clock);
  let frame = 0;
  let isPlanned = false;
  const clear = () => {
    isPlanned = false;
    timer.clear();
    globalThis.cancelAnimationFrame?.(frame);
  };
  const run = () => {
    clear();
    task();
  };
  const plan = () => {
    if (isPlanned) return;
    isPlanned = true;
    const hasFrames = clock === pageClock && "requestAnimationFrame" in globalThis && !isHidden();
    if (hasFrames) frame = requestAnimationFrame(run);
    timer.set(run, hasFrames ? FRAME_MAX_MS : FRAME_MS);
  };
  return { plan, run, clear };
}

/**
 * Runs a task in the next animation frame, or soon if there are no frames.
 * @param {Clock} clock
 * @param {() => void} task
 * @returns {Unsubscribe}
 */
export function nextFrame(clock, task) {
  const { plan, clear } = eachFrame(clock, task);
  plan();
  return clear;
}

/**
 * Returns the whole seconds until a time, never below zero.
 * @param {number} at
 * @param {number} now
 */
export function secondsUntil(at, now) {
  return Math.max(0, Math.ceil((at - now) / 1000));
}

/** @typedef {{ at: number, last: number | null, listener: (seconds: number) => void }} Countdown */
/** @type {Map<Clock, { countdowns: Set<Countdown>, timer: unknown }>} */
const tickers = new Map();

/**
 * Calls the listener with the seconds until `at`, now and whenever they change, down to zero.
 * All countdowns of a clock share one timer, which stops while the page is hidden.
 * @param {number} at
 * @param {(seconds: number) => void} listener
 * @param {{ clock?: Clock }} [options]
 * @returns {Unsubscribe}
 */
export function countdown(at, listener, { clock = pageClock } = {}) {
  const ticker = tickers.get(clock) ?? { countdowns: new Set(), timer: null };
  if (!ticker.countdowns.size) {
    tickers.set(clock, ticker);
    globalThis.document?.addEventListener("visibilitychange", wakeTickers);
  }
  /** @type {Countdown} */
  const entry = { at, last: null, listener };
  ticker.countdowns.add(entry);
  tick(clock);
  return () => {
    if (!ticker.countdowns.delete(entry) || ticker.countdowns.size) return;
    clock.clearTimeout(/** @type {never} */ (ticker.timer));
    if (tickers.get(clock) === ticker) tickers.delete(clock);
    if (!tickers.size) globalThis.document?.removeEventListener("visibilitychange", wakeTickers);
  };
}

function wakeTickers() {
  if (!isHidden()) for (const clock of [...tickers.keys()]) tick(clock);
}

/** @param {Clock} clock */
function tick(clock) {
  const ticker = tickers.get(clock);
  if (!ticker) return;
  clock.clearTimeout(/** @type {never} */ (ticker.timer));
  const now = clock.now();
  let wait = Infinity;
  for (const entry of [...ticker.countdowns]) {
    const seconds = Math.min(secondsUntil(entry.at, now), entry.last ?? Infinity);
    const isNews = seconds !== entry.last && ticker.countdowns.has(entry);
    entry.last = seconds;
    if (seconds > 0) wait = Math.min(wait, Math.max(1, entry.at - now - (seconds - 1) * 1000));
    if (isNews) entry.listener(seconds);
  }
  if (tickers.get(clock) !== ticker || wait === Infinity || isHidden()) return;
  clock.clearTimeout(/** @type {never} */ (ticker.timer));
  ticker.timer = clock.setTimeout(() => tick(clock), wait);
}
