import { eachFrame } from "./clock.js";
import { createListeners } from "./listeners.js";
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
 * The queue. `nextProbeAt` is on this page's clock; null if nothing is held, or the next request tries.
 * @typedef {StatusReport["queue"] & { nextProbeAt: number | null }} Queue
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
 * @property {Queue | null} queue
 * @property {StatusReport["cache"] | null} cache
 * @property {NonNullable<StatusReport["backend"]> | null} backend
 * @property {StatusReport["storage"] | null} storage
 */
/**
 * Calls the listener when what the selector returns is another value.
 * @typedef {<T>(
 *   selector: (state: State) => T,
 *   listener: (selected: T, previous: T) => void,
 *   isEqual?: (a: T, b: T) => boolean,
 * ) => Unsubscribe} Select
 */
/**
 * @typedef {object} Store
 * @property {() => State} getState
 * @property {(listener: () => void) => Unsubscribe} subscribe
 * @property {Select} select
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
  agents: Object.freeze(Object.create(null)),
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
  const { entries, add, giveAll } = /** @type {typeof createListeners<void>} */ (createListeners)();
  const frame = eachFrame(clock, () => giveAll());
  /** @type {Store["subscribe"]} */
  const subscribe = (listener) => add({ listener: () => listener() });
  return {
    getState: () => state,
    subscribe,
    /** @type {Store["select"]} */
    select(selector, listener, isEqual = Object.is) {
      let selected = selector(state);
      return subscribe(() => {
        const previous = selected;
        const next = selector(state);
        if (isEqual(previous, next)) return;
        selected = next;
        listener(next, previous);
      });
    },
    /** Replaces parts of the state. @param {Partial<State>} parts */
    set(parts) {
      const next = share(state, { ...state, ...parts });
      if (next === state) return;
      state = next;
      if (entries.size) frame.plan();
    },
    /** Tells the last state at once, then drops all listeners. */
    close() {
      frame.run();
      entries.clear();
    },
  };
}

/** What an agent's report became. The same report stays the same agent. @type {WeakMap<AgentView, Agent>} */
const views = new WeakMap();

/**
 * Returns an agent of the state.
 * @param {AgentView} report
 * @param {number} skew
 */
function viewOf(report, skew) {
  const restartAtMs = report.restart_at ? Date.parse(report.restart_at) - skew : null;
  const known = views.get(report);
  if (known?.restartAtMs === restartAtMs) return known;
  const view = { ...report, restartAtMs };
  views.set(report, view);
  return view;
}

/**
 * Returns the parts of the state that follow from a status. Counters of time alone change nothing.
 * @param {State} state
 * @param {StatusReport} status
 * @param {number} now the time of its receipt
 * @param {number} skew the milliseconds by which the runtime's clock is ahead
 * @returns {Partial<State>}
 */
export function fromStatus(state, status, now, skew) {
  const before = state.status;
  const { queue, runtime, cache, backend = null, storage } = status;
  const [connection, nextAttemptAt] = plan(
    "attempt",
    before?.connection,
    status.connection,
    state.connection?.nextAttemptAt,
    now,
  );
  const [held, nextProbeAt] = plan("probe", before?.queue.held, queue.held, state.queue?.nextProbeAt, now);
  const { uptime_ms } = before?.runtime ?? runtime;
  const next = share(before, {
    ...status,
    connection,
    queue: { ...queue, held },
    runtime: { ...runtime, uptime_ms },
  });
  return {
    status: next === before ? before : { ...next, runtime },
    connection: { ...connection, nextAttemptAt },
    // Without a prototype, an agent that is not known is undefined whatever its name is.
    agents: Object.assign(
      Object.create(null),
      Object.fromEntries(next.agents.map((agent) => [agent.id, viewOf(agent, skew)])),
    ),
    queue: { ...queue, held, nextProbeAt },
    cache,
    backend,
    storage,
  };
}

/**
 * Returns a report, and the time of what it plans, on this page's clock. While the plan is the same, its
 * delay and its time stay as they were.
 * @template T
 * @param {"attempt" | "probe"} name
 * @param {T | undefined} before
 * @param {T} after
 * @param {number | null | undefined} time
 * @param {number} now
 * @returns {[T, number | null]}
 */
function plan(name, before, after, time, now) {
  const [old, report] = /** @type {(Record<string, unknown> | null | undefined)[]} */ ([before, after]);
  const at = `next_${name}_at`;
  const left = `next_${name}_in_ms`;
  if (old && report && old[at] === report[at])
    return [/** @type {T} */ ({ ...report, [left]: old[left] }), time ?? null];
  const delay = /** @type {number | null | undefined} */ (report?.[left]);
  return [after, delay == null ? null : now + delay];
}
