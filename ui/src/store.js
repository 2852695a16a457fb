import { nextFrame } from "./clock.js";
import { reportListenerError } from "./errors.js";
import { share } from "./share.js";

/**
 * @typedef {import("../protocol.d.ts").StatusReport} StatusReport
 * @typedef {import("../protocol.d.ts").TreeNode} TreeNode
 * @typedef {import("../protocol.d.ts").ConnectionReport} ConnectionReport
 * @typedef {import("../protocol.d.ts").AgentView} AgentView
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./clock.js").Unsubscribe} Unsubscribe
 * @typedef {import("./session.js").SessionState} SessionState
 */
/**
 * The connection. `nextAttemptAt` is on this page's clock.
 * @typedef {ConnectionReport & { nextAttemptAt: number | null }} ConnectionView
 * An agent. `restartAtMs` is on this page's clock.
 * @typedef {AgentView & { restartAtMs: number | null }} Agent
 */
/**
 * The state of the page. It is immutable, and parts that did not change keep their reference.
 * What comes from the runtime is `null` before the first snapshot, and old while `isLive` is false.
 * @typedef {object} State
 * @property {SessionState} session
 * @property {boolean} isLive
 * @property {StatusReport | null} status
 * @property {TreeNode | null} tree
 * @property {ConnectionView | null} connection
 * @property {Readonly<Record<string, Agent | undefined>>} agents
 * @property {StatusReport["queue"] | null} queue
 * @property {StatusReport["cache"] | null} cache
 * @property {NonNullable<StatusReport["backend"]> | null} backend
 * @property {StatusReport["storage"] | null} storage
 */
/**
 * @typedef {object} Store
 * @property {() => State} getState
 * @property {(listener: () => void) => Unsubscribe} subscribe
 * @property {<T>(selector: (state: State) => T, listener: (selected: T, previous: T) => void, isEqual?: (a: T, b: T) => boolean) => Unsubscribe} select
 */

/** The state before anything is known, also for a server's rendering. @type {State} */
export const INITIAL_STATE = Object.freeze({
  session: Object.freeze(
    /** @type {const} */ ({ state: "connecting", since: 0, attempt: 1, nextAttemptAt: null, error: null }),
  ),
  isLive: false,
  status: null,
  tree: null,
  connection: null,
  agents: Object.freeze({}),
  queue: null,
  cache: null,
  backend: null,
  storage: null,
});

/**
 * Creates a store that notifies at most once a frame.
 * @param {Clock} clock
 */
export function createStore(clock) {
  let state = INITIAL_STATE;
  /** @type {Set<() => void>} */
  const listeners = new Set();
  /** @type {Unsubscribe | null} */
  let frame = null;

  const notify = () => {
    frame = null;
    for (const listener of [...listeners]) {
      try {
        if (listeners.has(listener)) listener();
      } catch (error) {
        reportListenerError(error);
      }
    }
  };
  /** @param {() => void} listener */
  const subscribe = (listener) => {
    const own = () => listener();
    listeners.add(own);
    return () => void listeners.delete(own);
  };
  return {
    getState: () => state,
    subscribe,
    /** @type {Store["select"]} */
    select(selector, listener, isEqual = Object.is) {
      let selected = selector(state);
      return subscribe(() => {
        const next = selector(state);
        if (isEqual(selected, next)) return;
        const previous = selected;
        selected = next;
        listener(next, previous);
      });
    },
    /** Replaces parts of the state. @param {Partial<State>} parts */
    set(parts) {
      const next = share(state, { ...state, ...parts });
      if (next === state) return;
      state = next;
      if (listeners.size) frame ??= nextFrame(clock, notify);
    },
    /** Drops all listeners. */
    close() {
      frame?.();
      frame = null;
      listeners.clear();
    },
  };
}

/** A planned time that differs by no more is the same one. */
const SAME_TIME_MS = 1000;

/**
 * Returns the parts of the state that follow from a status. Counters of time alone change nothing.
 * @param {State} state
 * @param {StatusReport} status
 * @param {number} now the time of its receipt
 * @param {number} skew the milliseconds by which the runtime's clock is ahead
 * @returns {Partial<State>}
 */
export function fromStatus(state, status, now, skew) {
  const old = state.connection;
  const report = status.connection;
  let nextAttemptAt = report.next_attempt_in_ms == null ? null : now + report.next_attempt_in_ms;
  if (old && nextAttemptAt != null && Math.abs((old.nextAttemptAt ?? 0) - nextAttemptAt) < SAME_TIME_MS) {
    nextAttemptAt = old.nextAttemptAt;
  }
  const next = { ...status, connection: keepDelay(old, report, "next_attempt_at", "next_attempt_in_ms") };
  const held = next.queue.held;
  if (held) {
    const kept = keepDelay(state.queue?.held, held, "next_probe_at", "next_probe_in_ms");
    next.queue = { ...next.queue, held: kept };
  }
  const before = state.status;
  const uptime = status.runtime.uptime_ms;
  const still = before && { ...next, runtime: { ...next.runtime, uptime_ms: before.runtime.uptime_ms } };
  const shared = share(before, still ?? next);
  const current = shared === before ? before : { ...shared, runtime: { ...shared.runtime, uptime_ms: uptime } };
  return {
    status: current,
    connection: { ...current.connection, nextAttemptAt },
    agents: Object.fromEntries(current.agents.map((agent) => [agent.id, withRestart(agent, skew)])),
    queue: current.queue,
    cache: current.cache,
    backend: current.backend ?? null,
    storage: current.storage,
  };
}

/**
 * Returns the report with its first delay to a planned time, since the time stays and the delay shrinks.
 * @template {object} T
 * @param {T | null | undefined} before
 * @param {T} after
 * @param {keyof T} at
 * @param {keyof T} delay
 * @returns {T}
 */
function keepDelay(before, after, at, delay) {
  const isSame = before && after[at] != null && before[at] === after[at];
  return isSame ? { ...after, [delay]: before[delay] } : after;
}

/**
 * @param {AgentView} agent
 * @param {number} skew
 */
function withRestart(agent, skew) {
  const at = agent.restart_at ? Date.parse(agent.restart_at) - skew : null;
  return { ...agent, restartAtMs: at };
}
