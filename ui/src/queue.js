import { pageClock } from "./clock.js";
import { ownError } from "./errors.js";
import { call } from "./listeners.js";
import { limit, untilAborted } from "./retry.js";

/**
 * @typedef {import("../protocol.d.ts").Priority} Priority
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./errors.js").MainstayError} MainstayError
 */
/**
 * @typedef {object} QueueOptions
 * @property {number} [concurrency] the most tasks that run; 6 if absent
 * @property {number} [limit] the most tasks that wait; 1000 if absent
 * @property {number} [deadlineMs] the longest time of a task in all
 * @property {number} [ageAfterMs] a task that waited so long moves up one lane; 5 s if absent
 * @property {() => void} [onIdle] called when no task is left
 * @property {(error: MainstayError) => void} [onOverflow] called when the queue is full and rejects a task
 * @property {Clock} [clock]
 */
/**
 * `signal` and `deadlineMs` are those of the caller, also if callers share a task by its `key`. The highest priority counts.
 * @typedef {{ priority?: Priority, signal?: AbortSignal, key?: string, deadlineMs?: number }} TaskOptions
 */
/**
 * @template T
 * @typedef {Promise<T> & { id: number }} TaskPromise
 */
/**
 * @typedef {object} Task
 * @property {number} id
 * @property {string | undefined} key
 * @property {number} lane
 * @property {number} since
 * @property {number} callers
 * @property {Promise<unknown>} result
 * @property {() => void} run
 * @property {(error: MainstayError) => void} cancel
 */

/** @type {Priority[]} */
const LANES = ["high", "normal", "low"];

/**
 * Creates a queue of functions with the order and the limits of the runtime's queue. Every promise settles.
 * @param {QueueOptions} [options]
 */
export function createQueue(options = {}) {
  const {
    concurrency = 6,
    limit: waitingMax = 1000,
    ageAfterMs = 5000,
    onIdle,
    onOverflow,
    clock = pageClock,
  } = options;
  /** @type {Set<Task>} */
  const waiting = new Set();
  /** @type {Set<Task>} */
  const running = new Set();
  /** @type {Set<() => void>} */
  const idlers = new Set();
  let isPaused = false;
  let nextId = 1;

  /** Returns the task that is next: the first of its lane, where a long wait counts as a better lane. */
  const next = () => {
    const now = clock.now();
    const lane = (/** @type {Task} */ task) =>
      Math.max(0, task.lane - Math.floor((now - task.since) / ageAfterMs));
    /** @type {Task | null} */
    let best = null;
    for (const task of waiting) if (!best || lane(task) < lane(best)) best = task;
    return best;
  };
  const pump = () => {
    while (!isPaused && running.size < concurrency && waiting.size) {
      const task = /** @type {Task} */ (next());
      waiting.delete(task);
      running.add(task);
      task.run();
    }
    if (running.size || waiting.size) return;
    for (const resolve of idlers) resolve();
    idlers.clear();
  };
  /** @param {number | string} id */
  const find = (id) => [...waiting, ...running].find((task) => task.id === id || task.key === id);

  /**
   * Makes a task that waits. It ends when its function does, or at once when it is cancelled.
   * @param {(signal: AbortSignal) => unknown} fn
   * @param {string} [key]
   */
  const create = (fn, key) => {
    const controller = new AbortController();
    const { signal } = controller;
    /** @type {() => void} */
    let run = () => {};
    const started = new Promise((resolve) => (run = () => resolve(undefined)));
    const work = started.then(() => {
      signal.throwIfAborted();
      return fn(signal);
    });
    const end = () => {
      if (!waiting.delete(task) && !running.delete(task)) return;
      pump();
      if (!waiting.size && !running.size) call(onIdle, undefined);
    };
    const cancel = (/** @type {MainstayError} */ error) => {
      controller.abort(error);
      end();
    };
    const result = untilAborted(work, signal).finally(end);
    /** @type {Task} */
    const task = { id: nextId++, key, lane: LANES.length, since: clock.now(), callers: 0, result, run, cancel };
    waiting.add(task);
    return task;
  };
  /**
   * Adds a caller, who may leave before the task ends. A task without callers is cancelled.
   * @param {Task} task
   * @param {Priority} priority
   * @param {ReturnType<typeof limit>} own
   */
  const join = (task, priority, { signal, end }) => {
    const leave = () => --task.callers || task.cancel(signal.reason);
    task.callers++;
    task.lane = Math.min(task.lane, LANES.indexOf(priority));
    signal.addEventListener("abort", leave);
    return untilAborted(task.result, signal).finally(() => {
      signal.removeEventListener("abort", leave);
      end();
    });
  };

  return {
    /** The number of tasks that wait. */
    get size() {
      return waiting.size;
    },
    /** The number of tasks that run. */
    get running() {
      return running.size;
    },
    get isPaused() {
      return isPaused;
    },
    /**
     * Adds a task. An unfinished task with the same key is shared, until the last of its callers leaves. The promise has the
     * task's `id`.
     * @template T
     * @param {(signal: AbortSignal) => T | Promise<T>} fn
     * @param {TaskOptions} [taskOptions]
     * @returns {TaskPromise<T>}
     */
    add(fn, { priority = "normal", signal: outer, key, deadlineMs = options.deadlineMs } = {}) {
      /** @param {MainstayError} error */
      const refuse = (error) => Object.assign(Promise.reject(error), { id: nextId++ });
      if (outer?.aborted) return refuse(ownError("cancelled", "", outer.reason));
      const shared = key == null ? null : find(key);
      if (!shared && waiting.size >= waitingMax && (isPaused || running.size >= concurrency)) {
        const error = ownError("queue_full", `${waitingMax} tasks wait`);
        call(onOverflow, error);
        return refuse(error);
      }
      const task = shared ?? create(fn, key);
      const promise = Object.assign(join(task, priority, limit(outer, deadlineMs, clock)), { id: task.id });
      pump();
      return /** @type {TaskPromise<T>} */ (promise);
    },
    /** Starts no further task. */
    pause() {
      isPaused = true;
    },
    resume() {
      isPaused = false;
      pump();
    },
    /** Cancels every task that waits. */
    clear() {
      for (const task of [...waiting]) task.cancel(ownError("cancelled", "the queue was cleared"));
    },
    /**
     * Cancels a task by its id or key. Returns false if it had ended.
     * @param {number | string} id
     */
    cancel(id) {
      const task = find(id);
      task?.cancel(ownError("cancelled"));
      return !!task;
    },
    /**
     * Moves a waiting task. Returns false if it does not wait.
     * @param {number | string} id
     * @param {Priority} priority
     */
    setPriority(id, priority) {
      const task = find(id);
      if (!task || !waiting.has(task)) return false;
      task.lane = LANES.indexOf(priority);
      return true;
    },
    /** Resolves when no task waits or runs. @returns {Promise<void>} */
    onIdle() {
      if (!waiting.size && !running.size) return Promise.resolve();
      return new Promise((resolve) => idlers.add(resolve));
    },
  };
}
