/** Hooks for requests, the queue and the cache. */
import { useCallback, useEffect, useMemo, useState } from "react";

import { handleError } from "../errors.js";
import { isLoss } from "../session.js";
import { share } from "../share.js";
import { useReading } from "./reading.js";
import { createShared, useShared } from "./shared.js";
import { isShallowEqual, peek, useActions, useGiven, useLatest, useStore } from "./source.js";

/** @import { BridgeResponse, Client, RequestOptions, RequestProgress } from "../client.js" */
/** @import { MainstayError } from "../errors.js" */
/** @import { EventRecord, OutageReport, PendingRequest, Priority, QueueReport } from "../../protocol.d.ts" */
/** @import { Result } from "./source.js" */
/** @import { SharedEntry } from "./shared.js" */
/** @import { State } from "../store.js" */

/**
 * @typedef {object} RetryView
 * @property {number} attempt the number of the next attempt
 * @property {number} at the time of the next attempt, on this page's clock
 * @property {string} reason the reason of the last failure
 *
 * @typedef {object} RequestView
 * @property {"idle" | "pending" | "done" | "failed"} state
 * @property {BridgeResponse | null} response the last response; it stays while the request is repeated
 * @property {MainstayError | null} error
 * @property {number | null} requestId the runtime's number of the request
 * @property {RequestProgress | null} progress
 * @property {RetryView | null} retry the retry that the runtime has planned
 */

/** @type {RequestView} */
const IDLE = { state: "idle", response: null, error: null, requestId: null, progress: null, retry: null };

const requests = createShared(IDLE);

/**
 * @typedef {Omit<RequestOptions, "signal" | "onProgress" | "onAccepted">} SentOptions
 *
 * @typedef {object} OwnOptions
 * @property {Client} [client]
 * @property {string} [method] GET if absent
 * @property {boolean} [manual] true if `run` alone sends it; so it is for every method but GET and HEAD
 * @property {number} [keepMs] the time for which the request goes on without a component, 0 if absent
 *
 * @typedef {SentOptions & OwnOptions} UseRequestOptions
 *
 * @typedef {object} RequestActions
 * @property {(overrides?: SentOptions) => Promise<Result<BridgeResponse>>} run sends it, in place of one in
 *   flight
 * @property {() => void} cancel
 *
 * @typedef {RequestView & RequestActions & {data: unknown, isLoading: boolean}} UseRequest
 */

/**
 * Returns the retry that an event announces for a request.
 *
 * @param {EventRecord} event
 * @param {number | null} requestId
 * @returns {RetryView | null}
 */
function retryOf(event, requestId) {
  if (event.kind !== "request_retry" || event.request_id !== requestId) return null;
  return { attempt: event.attempt, at: Date.now() + event.delay_ms, reason: event.reason };
}

/** @type {WeakMap<SharedEntry<RequestView>, AbortController>} */
const flights = new WeakMap();

/**
 * Sends a request, and shows its course in an entry. An idempotent request that broke off with the session is
 * sent again in the next one.
 *
 * @param {Client} client
 * @param {SharedEntry<RequestView>} entry
 * @param {string} path
 * @param {SentOptions & {method?: string}} options
 * @returns {Promise<Result<BridgeResponse>>}
 */
async function send(client, entry, path, { method = "GET", ...options }) {
  flights.get(entry)?.abort();
  const controller = new AbortController();
  flights.set(entry, controller);
  const signal = AbortSignal.any([controller.signal, entry.signal]);
  const show = (/** @type {Partial<RequestView>} */ change) => {
    if (!signal.aborted) entry.set(change);
  };
  const stop = client.onEvents(
    ({ events }) => {
      for (const event of events) {
        const retry = retryOf(event, entry.get().requestId);
        if (retry) show({ retry });
      }
    },
    { kinds: ["request_retry"] },
  );
  show({ state: "pending", error: null, requestId: null, progress: null, retry: null });
  try {
    for (;;) {
      try {
        const response = await client.request(method, path, {
          ...options,
          signal,
          onProgress: (progress) => show({ progress }),
          onAccepted: (requestId) => show({ requestId }),
        });
        show({ state: "done", response, retry: null });
        return { ok: true, value: response };
      } catch (thrown) {
        const error = handleError(thrown);
        const isLost = isLoss(thrown) && error.retryable;
        if (isLost && !client.closed && !signal.aborted) continue;
        show({ state: "failed", error, retry: null });
        return { ok: false, error };
      }
    }
  } finally {
    stop();
    if (flights.get(entry) === controller) flights.delete(entry);
  }
}

/**
 * Cancels what an entry has in flight.
 *
 * @param {SharedEntry<RequestView> | null} entry
 */
function cancel(entry) {
  const flight = entry && flights.get(entry);
  if (!flight) return;
  flight.abort();
  entry.set({ state: entry.get().response ? "done" : "idle", retry: null, progress: null });
}

/**
 * Takes the options that are sent from those of the hook.
 *
 * @param {UseRequestOptions} options
 * @returns {SentOptions & {method?: string}}
 */
function sentOptions(options) {
  const { client: _client, manual: _manual, keepMs: _keepMs, ...sent } = options;
  return sent;
}

/**
 * Returns a promise that resolves when the component is mounted. An action that is called between the render
 * and its effects waits for it.
 *
 * @returns {Promise<void>}
 */
function useMounted() {
  const [[mounted, resolve]] = useState(() => {
    /** @type {() => void} */
    let open = () => {};
    const promise = /** @type {Promise<void>} */ (new Promise((done) => (open = () => done(undefined))));
    return /** @type {const} */ ([promise, open]);
  });
  useEffect(resolve, [resolve]);
  return mounted;
}

/**
 * Sends a request to the backend through the runtime's queue, and shows its course: retries, progress,
 * response, error. GET and HEAD are sent when the component mounts, once for all components with the same
 * path; others by `run`. The request is cancelled when its last component unmounts.
 *
 * @param {string | null} path null sends nothing
 * @param {UseRequestOptions} [options]
 * @returns {UseRequest}
 */
export function useRequest(path, options = {}) {
  const given = useGiven(options.client);
  const { method = "GET", manual = !["GET", "HEAD"].includes(method), keepMs = 0 } = options;
  const [own] = useState(() => Symbol(method));
  const key = manual || path === null ? own : JSON.stringify([method, path, options.headers, options.body]);
  const latest = useLatest({ given, key, path, options });

  const view = useShared(requests, given, key, {
    keepMs,
    begin: (client, entry) => {
      if (!manual && path !== null) void send(client, entry, path, sentOptions(latest.current.options));
      return undefined;
    },
  });
  const mounted = useMounted();
  const run = useCallback(
    async (/** @type {SentOptions} */ overrides = {}) => {
      await mounted;
      const { given: used, key: usedKey, path: usedPath, options: usedOptions } = latest.current;
      const client = peek(used);
      const entry = requests.find(client, usedKey);
      if (!client || !entry || usedPath === null) return notMounted();
      return send(client, entry, usedPath, { ...sentOptions(usedOptions), ...overrides });
    },
    [latest, mounted],
  );
  const stop = useCallback(
    () => cancel(requests.find(peek(latest.current.given), latest.current.key)),
    [latest],
  );
  return useMemo(
    () => ({
      ...view,
      data: view.response?.body,
      isLoading: view.state === "pending" && !view.response,
      run,
      cancel: stop,
    }),
    [view, run, stop],
  );
}

/** @returns {Result<never>} */
function notMounted() {
  return { ok: false, error: handleError(new DOMException("The component is not mounted.", "AbortError")) };
}

/**
 * @typedef {object} QueueActions
 * @property {(requestId: number) => Promise<Result<unknown>>} cancel
 * @property {(requestId: number, priority: Priority) => Promise<Result<unknown>>} setPriority
 *
 * @typedef {object} QueueView
 * @property {number} waiting
 * @property {number} running
 * @property {OutageReport | null} held the outage for which all requests wait
 * @property {number | null} nextTrialAt the time of the next probe during an outage, on this page's clock
 * @property {PendingRequest[]} requests all that wait or run; empty unless `list` is set
 * @property {boolean} isLive false while these figures are old
 *
 * @typedef {QueueView & QueueActions} UseQueue
 */

/**
 * Selects the queue's figures.
 *
 * @param {State} state
 */
function queueFigures({ queue, isLive }) {
  return {
    waiting: queue?.waiting ?? 0,
    running: queue?.running ?? 0,
    held: queue?.held ?? null,
    nextTrialAt: queue?.nextProbeAt ?? null,
    isLive,
  };
}

/** @param {State} state @returns {QueueReport | null} */
const selectQueue = (state) => (state.isLive ? state.queue : null);

/** @type {PendingRequest[]} */
const NO_REQUESTS = [];

/**
 * Returns the figures of the runtime's queue, with actions. `list` adds the requests themselves.
 *
 * @param {{client?: Client, list?: boolean}} [options]
 * @returns {UseQueue}
 */
export function useQueue({ client, list = false } = {}) {
  const given = useGiven(client);
  const figures = useStore(queueFigures, { client, isEqual: isShallowEqual });
  const queue = useStore(selectQueue, { client });
  const { value: listed } = useReading(given, list ? queue : null, (used) => used.requests.list(), NO_REQUESTS);
  const pending = list ? listed : NO_REQUESTS;
  const actions = useActions(given, (run) => ({
    cancel: (/** @type {number} */ id) => run((used) => used.requests.cancel(id)),
    setPriority: (/** @type {number} */ id, /** @type {Priority} */ priority) =>
      run((used) => used.requests.setPriority(id, priority)),
  }));
  return useMemo(() => ({ ...figures, requests: pending, ...actions }), [figures, pending, actions]);
}

/**
 * @typedef {object} CachedView
 * @property {unknown} data
 * @property {boolean} hasData tells a stored `null` from nothing
 * @property {boolean} isLoading
 * @property {MainstayError | null} error
 */

/** @type {CachedView} */
const NOTHING = { data: undefined, hasData: false, isLoading: true, error: null };

const cached = createShared(NOTHING);

/**
 * @template T
 * @typedef {(context: {signal: AbortSignal}) => Promise<T>} Load
 */

/**
 * @typedef {object} CachedOptions
 * @property {Client} [client]
 * @property {number} [ttlMs] the time for which the value is fresh
 * @property {number} [staleMs] the time for which it is used after that, while it is loaded again
 */

/** @typedef {{controller: AbortController, hasMissed: boolean}} Filling */

/** The calls of `fill` that have not ended. @type {WeakMap<SharedEntry<CachedView>, Filling>} */
const fillings = new WeakMap();

/**
 * Reads a key from the runtime's cache, or loads and stores it. A newer call ends an older one, whose value
 * is neither shown nor stored any more. The older one may have sent an old value to the cache just before, so
 * the newer one loads even if the cache has one.
 *
 * @param {Client} client
 * @param {SharedEntry<CachedView>} entry
 * @param {string} key
 * @param {{load: Load<unknown>, options: CachedOptions, isForced: boolean}} how
 * @returns {Promise<void>}
 */
async function fill(client, entry, key, { load, options, isForced }) {
  const older = fillings.get(entry);
  const own = { controller: new AbortController(), hasMissed: isForced || older?.hasMissed === true };
  fillings.set(entry, own);
  older?.controller.abort();
  const signal = AbortSignal.any([own.controller.signal, entry.signal]);
  const show = (/** @type {Partial<CachedView>} */ change) => {
    if (!signal.aborted) entry.set(change);
  };
  const showData = (/** @type {unknown} */ data) =>
    show({ data: share(entry.get().data, data), hasData: true, isLoading: false, error: null });
  try {
    const found = own.hasMissed ? { hit: false, value: undefined } : await client.cache.get(key);
    if (signal.aborted) return undefined;
    if (found.hit) return showData(found.value);
    own.hasMissed = true;
    show({ isLoading: true });
    const data = await load({ signal });
    if (signal.aborted) return undefined;
    showData(data);
    return await client.cache.put(key, data, { ttlMs: options.ttlMs, staleMs: options.staleMs });
  } catch (error) {
    const shown = handleError(error);
    show({ error: shown, isLoading: false });
    // What broke off with the session is read again in the next one.
    const again = async () => {
      if (signal.aborted) return undefined;
      return fill(client, entry, key, { load, options, isForced: own.hasMissed });
    };
    return isLoss(error) && shown.retryable ? await nextSession(client).then(again, () => {}) : undefined;
  } finally {
    if (fillings.get(entry) === own) fillings.delete(entry);
  }
}

/**
 * Resolves once a session is open, and answers. Rejects if there is none for a minute.
 *
 * @param {Client} client
 * @returns {Promise<unknown>}
 */
async function nextSession(client) {
  return client.hello().catch((error) => {
    if (isLoss(error)) return nextSession(client);
    throw error;
  });
}

/**
 * Returns whether an event may have invalidated a key.
 *
 * @param {EventRecord} event
 * @param {string} key
 */
function concerns(event, key) {
  if (event.kind !== "cache_invalidated") return false;
  if (event.by === "key") return event.pattern === key;
  return event.by !== "prefix" || key.startsWith(event.pattern);
}

/**
 * Returns a value of the runtime's cache, and loads it on a miss: once for all components that show the key.
 * It is read again after an invalidation.
 *
 * @template T
 * @param {string} key
 * @param {Load<T>} load
 * @param {CachedOptions} [options]
 * @returns {Omit<CachedView, "data"> & {
 *   data: T | undefined,
 *   reload: () => Promise<void>,
 *   invalidate: () => Promise<Result<unknown>>,
 * }}
 */
export function useCached(key, load, options = {}) {
  const given = useGiven(options.client);
  const latest = useLatest({ given, key, load, options });
  const view = useShared(cached, given, key, {
    keepMs: 0,
    begin: (client, entry) => {
      const read = () => fill(client, entry, key, { ...latest.current, isForced: false });
      void read();
      return client.onEvents(
        ({ events, lagged }) => {
          if (lagged || events.some((event) => concerns(event, key))) void read();
        },
        { kinds: ["cache_invalidated"] },
      );
    },
  });
  const reload = useCallback(async () => {
    const { given: used, key: usedKey, ...rest } = latest.current;
    const client = peek(used);
    const entry = cached.find(client, usedKey);
    if (client && entry) await fill(client, entry, usedKey, { ...rest, isForced: true });
  }, [latest]);
  const { invalidate } = useActions(given, (run) => ({
    invalidate: () => run((client) => client.cache.invalidate({ key: latest.current.key })),
  }));
  return useMemo(
    () => ({ ...view, data: /** @type {T | undefined} */ (view.data), reload, invalidate }),
    [view, reload, invalidate],
  );
}
