/** Hooks for the connection, the backend's frames and countdowns. */
import { useCallback, useEffect, useMemo, useSyncExternalStore } from "react";

import { countdown, secondsUntil } from "../clock.js";
import { connectionView, isSameView } from "../connection-view.js";
import { handleError } from "../errors.js";
import { INITIAL_STATE } from "../store.js";
import { useFold } from "./fold.js";
import { act, hold, readState, useActions, useGiven, useKeyed, useLatest, useSelection } from "./source.js";

/** @import { Client } from "../client.js" */
/** @import { Unsubscribe } from "../clock.js" */
/** @import { Frame } from "../streams.js" */
/** @import { ConnectionView } from "../connection-view.js" */
/** @import { MainstayError } from "../errors.js" */
/** @import { ConnectionState, ConnectionReport, ReconnectReply, SendOutcome } from "../../protocol.d.ts" */
/** @import { Result } from "./source.js" */
/** @import { State } from "../store.js" */

/**
 * @typedef {object} ConnectionActions
 * @property {() => Promise<Result<ReconnectReply>>} reconnect dials now, in every state
 * @property {() => Promise<Result<ConnectionReport>>} disconnect ends the connection until `reconnect`
 *
 * @typedef {object} ConnectionFlags
 * @property {boolean} isConnected
 * @property {boolean} isReconnecting true once the connection has been down for `graceMs`
 * @property {boolean} isFailed true if the runtime makes no further attempts of its own
 *
 * @typedef {ConnectionView & ConnectionFlags & ConnectionActions} BackendConnection
 *
 * @typedef {object} ConnectionOptions
 * @property {(prev: ConnectionState, next: ConnectionState, reason: string | null) => void} [onChange]
 *   called after the change was rendered
 * @property {Client} [client]
 * @property {number} [graceMs] the time for which an outage is not shown as `isReconnecting`, 1,000 if
 *   absent
 */

/**
 * Adds the flags to a view.
 *
 * @param {ConnectionView} view
 * @param {boolean} isLate
 * @returns {ConnectionView & ConnectionFlags}
 */
function withFlags(view, isLate) {
  const isDown = view.state === "connecting" || view.state === "reconnecting";
  return {
    ...view,
    isConnected: view.state === "connected",
    isReconnecting: isLate && isDown,
    isFailed: view.state === "failed",
  };
}

/** @typedef {ReturnType<typeof createTracker>} Tracker */

/**
 * Creates the external value behind the hook. It follows the state and ends the grace of an outage.
 *
 * @param {Client | null} given
 * @param {number} graceMs
 * @param {ConnectionActions} actions
 */
function createTracker(given, graceMs, actions) {
  let view = connectionView(INITIAL_STATE);
  let isLate = false;
  /** @type {BackendConnection} */
  let current = { ...withFlags(view, isLate), ...actions };
  /** @type {State} */
  let seen = INITIAL_STATE;
  const initial = current;

  const refresh = (/** @type {boolean} */ late) => {
    const state = readState(given);
    if (state === seen && late === isLate) return current;
    seen = state;
    const next = connectionView(state);
    if (isSameView(view, next) && late === isLate) return current;
    view = next;
    isLate = late;
    current = { ...withFlags(view, isLate), ...actions };
    return current;
  };

  const subscribe = (/** @type {() => void} */ listener) =>
    hold(given, (client) => {
      /** @type {ReturnType<typeof setTimeout> | null} */
      let timer = null;
      const clear = () => {
        if (timer !== null) clearTimeout(timer);
        timer = null;
      };
      const follow = () => {
        const { state } = refresh(isLate);
        const isDown = state === "connecting" || state === "reconnecting";
        if (!isDown) {
          clear();
          refresh(false);
        } else if (!isLate) {
          timer ??= setTimeout(() => {
            refresh(true);
            listener();
          }, graceMs);
        }
      };
      follow();
      const unsubscribe = client.store.subscribe(() => {
        follow();
        listener();
      });
      // The client before may have had another state.
      listener();
      return () => {
        clear();
        unsubscribe();
      };
    });

  return { subscribe, initial, read: () => refresh(isLate) };
}

/**
 * Calls `onChange` for each change of state, after React has committed it.
 *
 * @param {Client | null} given
 * @param {ConnectionOptions["onChange"]} onChange
 */
function useChangeListener(given, onChange) {
  const latest = useLatest(onChange);
  const isWanted = Boolean(onChange);
  useEffect(() => {
    if (!isWanted) return undefined;
    return hold(given, (client) => watchChanges(client, (...change) => latest.current?.(...change)));
  }, [given, isWanted, latest]);
}

/**
 * Watches the states of a client. The reason is that of the runtime's event, or else of the last error.
 *
 * @param {Client} client
 * @param {NonNullable<ConnectionOptions["onChange"]>} onChange
 * @returns {Unsubscribe}
 */
function watchChanges(client, onChange) {
  let prev = connectionView(client.store.getState()).state;
  let isOpen = true;
  /** @type {{to: ConnectionState, reason: string} | null} */
  let event = null;
  const stopEvents = client.onEvents(
    ({ events }) => {
      for (const record of events) if (record.kind === "connection_state") event = record;
    },
    { kinds: ["connection_state"] },
  );
  const stopStates = client.store.subscribe(() => {
    const next = connectionView(client.store.getState());
    if (next.state === prev) return;
    const from = prev;
    prev = next.state;
    const eventReason = next.link === "backend" && event?.to === next.state ? event.reason : null;
    const reason = eventReason ?? (next.state === "connected" ? null : (next.lastError?.reason ?? null));
    // React commits in a microtask that it has queued by now: the component subscribed before.
    queueMicrotask(() => {
      if (isOpen) onChange(from, next.state, reason);
    });
  });
  return () => {
    isOpen = false;
    stopEvents();
    stopStates();
  };
}

/** @param {BackendConnection} connection */
const whole = (connection) => connection;

/**
 * Returns the connection to the backend, with actions. With a selector the component renders again only when
 * the selected value changed.
 *
 * @overload
 * @param {ConnectionOptions} [options]
 * @returns {BackendConnection}
 */
/**
 * @template T
 * @overload
 * @param {(connection: BackendConnection) => T} selector
 * @param {ConnectionOptions & {isEqual?: (a: T, b: T) => boolean}} [options]
 * @returns {T}
 */
/**
 * @param {ConnectionOptions | ((connection: BackendConnection) => unknown)} [first]
 * @param {ConnectionOptions & {isEqual?: (a: unknown, b: unknown) => boolean}} [second]
 * @returns {unknown}
 */
export function useBackendConnection(first = {}, second = {}) {
  const [selector, options] =
    typeof first === "function" ? [first, second] : [whole, { ...second, ...first }];
  const { client, graceMs = 1_000, onChange, isEqual = Object.is } = options;
  const given = useGiven(client);
  const actions = useActions(given, (run) => ({
    reconnect: () =>
      run((used) => {
        used.retryNow();
        return used.connection.reconnect();
      }),
    disconnect: () => run((used) => used.connection.disconnect()),
  }));
  const tracker = useMemo(() => createTracker(given, graceMs, actions), [given, graceMs, actions]);
  const value = useSelection(tracker.subscribe, tracker.read, tracker.initial, selector, isEqual);
  useChangeListener(given, onChange);
  return value;
}

/**
 * @typedef {string | readonly string[] | null} FrameFilter Patterns for the `type` of frames; null for
 *   every frame.
 */

/**
 * Returns a filter's patterns as a key that is equal for equal filters.
 *
 * @param {FrameFilter | undefined} filter
 */
function filterKey(filter) {
  return JSON.stringify(typeof filter === "string" ? [filter] : (filter ?? null));
}

/**
 * Starts listening to the frames of a filter's key.
 *
 * @param {Client} client
 * @param {string} key
 * @param {(item: Frame) => void} listener
 */
function listen(client, key, listener) {
  /** @type {string[] | null} */
  const types = JSON.parse(key);
  return client.onFrames(listener, types ? { types } : {});
}

/**
 * Calls `onMessage` for each frame of the backend, in order, and for each gap. No frame is lost, however
 * React batches.
 *
 * @param {FrameFilter} filter
 * @param {(item: Frame) => void} onMessage
 * @param {{client?: Client}} [options]
 */
export function useBackendMessages(filter, onMessage, options = {}) {
  const given = useGiven(options.client);
  const latest = useLatest(onMessage);
  const key = filterKey(filter);
  useEffect(
    () => hold(given, (client) => listen(client, key, (item) => latest.current(item))),
    [given, key, latest],
  );
}

/**
 * Folds the frames of the backend into a value. `reduce` gets all frames of one animation frame at once, in
 * order, and the component renders once for them.
 *
 * @template V
 * @param {FrameFilter} filter
 * @param {(value: V, items: Frame[]) => V} reduce
 * @param {V} initial
 * @param {{client?: Client}} [options]
 * @returns {V}
 */
export function useMessageReducer(filter, reduce, initial, options = {}) {
  const key = filterKey(filter);
  const [value] = useFold({
    client: options.client,
    key,
    initial,
    reduce,
    start: (client, /** @type {(item: Frame) => void} */ push) => listen(client, key, push),
  });
  return value;
}

/**
 * @typedef {object} Fate
 * @property {SendOutcome} outcome `unknown` if the backend may have got the message
 * @property {MainstayError | null} error
 */

/**
 * Returns the outcome that an error stands for.
 *
 * @param {MainstayError} error
 * @returns {SendOutcome}
 */
function outcomeOf(error) {
  /** @type {Partial<Record<string, SendOutcome>>} */
  const outcomes = { outcome_unknown: "unknown", expired: "expired", request_too_large: "too_large" };
  return outcomes[error.reason] ?? "dropped";
}

/**
 * Returns a function that sends a message to the backend's socket. It resolves to the message's fate and
 * never rejects. A value that is no text and no bytes is sent as JSON.
 *
 * @param {{client?: Client}} [defaults]
 * @returns {(message: unknown, options?: {waitTimeoutMs?: number, signal?: AbortSignal}) => Promise<Fate>}
 */
export function useSend(defaults = {}) {
  const latest = useLatest(useGiven(defaults.client));
  return useCallback(
    async (message, options) => {
      const isRaw = typeof message === "string" || message instanceof Uint8Array;
      const result = await act(latest.current, (client) =>
        client.sendFrame(isRaw ? message : JSON.stringify(message), options),
      );
      if (result.ok) return { outcome: result.value.outcome, error: null };
      const error = handleError(result.error);
      return { outcome: outcomeOf(error), error };
    },
    [latest],
  );
}

/**
 * Creates the external value behind a countdown. It changes by ticks alone, so that renders agree.
 *
 * @param {number | null} at
 */
function createCountdown(at) {
  let seconds = at === null ? null : secondsUntil(at, Date.now());
  const subscribe = (/** @type {() => void} */ listener) => {
    if (at === null) return () => {};
    return countdown(at, (left) => {
      if (left === seconds) return;
      seconds = left;
      listener();
    });
  };
  return { subscribe, get: () => seconds };
}

/**
 * Returns the whole seconds until a time on this page's clock, or null without one. All countdowns share one
 * timer, which stops while the page is hidden.
 *
 * @param {number | null | undefined} at
 * @returns {number | null}
 */
export function useCountdown(at) {
  const { subscribe, get } = useKeyed(at ?? null, () => createCountdown(at ?? null));
  return useSyncExternalStore(subscribe, get, () => null);
}
