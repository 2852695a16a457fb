/**
 * A client whose state a test sets, and that notes what is asked of it.
 */
import { INITIAL_STATE } from "../../src/store.js";
import { sampleAgent, sampleConnection, sampleQueue } from "../../src/transports/samples.js";

/** @param {Record<string, unknown>} [parts] */
export const connection = (parts) => ({ ...sampleConnection(), nextAttemptAt: null, ...parts });

export const REFUSED = {
  code: "NETWORK_ERROR",
  reason: "connection_refused",
  retryable: true,
  attempts: 0,
  message: "The backend is not accepting connections. Check that it is running, then try again.",
};

/**
 * @param {string} id
 * @param {Record<string, unknown>} [parts]
 */
export const agent = (id, parts) => ({ ...sampleAgent({ id, ...parts }), restartAtMs: null, ...parts });

/** @param {Record<string, unknown>} [parts] */
export const queue = (parts) => ({ ...sampleQueue(), nextProbeAt: null, ...parts });

/** Returns the state of an open session with two healthy agents. */
export const live = () => ({
  session: { state: "open", since: 0, attempt: 1, nextAttemptAt: null, error: null },
  isLive: true,
  status: { runtime: { run: 3, boot: "b1", pid: 1, uptime_ms: 1, seq: 10 } },
  connection: connection(),
  agents: { planner: agent("planner", { state_saved_at: "2026-03-01T11:57:00.000Z" }), coder: agent("coder") },
  queue: queue(),
});

/** @param {Record<string, unknown>} [parts] */
export function createFake(parts = {}) {
  let state = { ...INITIAL_STATE, ...parts };
  const listeners = new Set();
  const events = new Set();
  const updates = new Set();
  /** @type {unknown[][]} */
  const calls = [];
  /** @type {Record<string, () => unknown>} */
  const replies = {};
  const call = (/** @type {unknown[]} */ ...words) => {
    calls.push(words);
    return Promise.resolve().then(() => replies[String(words[0])]?.());
  };
  const agentOf = (/** @type {string} */ id) => ({
    ...Object.fromEntries(["restart", "stop", "start", "reset"].map((name) => [name, () => call(name, id)])),
    listen(/** @type {unknown} */ listener) {
      updates.add(listener);
      return () => updates.delete(listener);
    },
    send(/** @type {unknown} */ body, /** @type {{onAccepted: (id: number) => void}} */ options) {
      const promise = call("send", id, body);
      const number = calls.filter(([name]) => name === "send").length;
      options.onAccepted(number);
      return promise.then((answer) => ({ messageId: number, answer }));
    },
    answer: (/** @type {string} */ ask, /** @type {unknown} */ body) => call("answer", id, ask, body),
    cancel: (/** @type {number} */ message) => call("cancel", id, message),
  });
  const client = {
    closed: false,
    store: {
      getState: () => state,
      subscribe: (/** @type {() => void} */ listener) => (
        listeners.add(listener),
        () => listeners.delete(listener)
      ),
      select(/** @type {Function} */ selector, /** @type {Function} */ listener, isEqual = Object.is) {
        let old = selector(state);
        const own = () => {
          const next = selector(state);
          if (isEqual(old, next)) return;
          old = next;
          listener(next);
        };
        listeners.add(own);
        return () => listeners.delete(own);
      },
    },
    agent: agentOf,
    connection: { reconnect: () => call("reconnect") },
    requests: {
      list: () => call("list").then((list) => list ?? []),
      cancel: (/** @type {number} */ id) => call("cancelRequest", id),
      setPriority: (/** @type {number} */ id, /** @type {string} */ priority) =>
        call("setPriority", id, priority),
    },
    onEvents(/** @type {unknown} */ listener) {
      events.add(listener);
      return () => events.delete(listener);
    },
    retryNow: () => void calls.push(["retryNow"]),
    hold: () => () => {},
    release() {},
  };
  return {
    client,
    calls,
    replies,
    listeners,
    events,
    updates,
    /** @param {Record<string, unknown>} next */
    set(next) {
      state = { ...state, ...next };
      for (const listener of [...listeners]) listener();
    },
    /** @param {unknown} batch */
    emit: (batch) => events.forEach((listener) => listener(batch)),
    /** @param {unknown} item */
    update: (item) => updates.forEach((listener) => listener(item)),
  };
}
