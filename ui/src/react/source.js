/**
 * Holds what all hooks share: the client in use, selections of its state, and values that are shown once per
 * frame.
 */
import {
  createContext,
  useCallback,
  useContext,
  useInsertionEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";

import { currentClient, hold, pageClient } from "../client.js";
import { handleError } from "../errors.js";
import { INITIAL_STATE } from "../store.js";

/** @import { RefObject } from "react" */
/** @import { Client } from "../client.js" */
/** @import { Unsubscribe } from "../clock.js" */
/** @import { State } from "../store.js" */
/** @import { MainstayError } from "../errors.js" */

/**
 * @template T
 * @typedef {{ok: true, value: T} | {ok: false, error: MainstayError}} Result The result of an action of a
 *   hook.
 */

/** Gives the components below a client of their own. */
export const MainstayContext = createContext(/** @type {Client | null} */ (null));

export { hold };

/**
 * Returns the client that a hook was given, by its options or by the context.
 *
 * @param {Client | undefined} client
 * @returns {Client | null}
 */
export function useGiven(client) {
  const context = useContext(MainstayContext);
  return client ?? context;
}

/**
 * Returns a ref that holds the value of the last committed render.
 *
 * @template T
 * @param {T} value
 * @returns {RefObject<T>}
 */
export function useLatest(value) {
  const ref = useRef(value);
  useInsertionEffect(() => {
    ref.current = value;
  });
  return ref;
}

/**
 * Returns what `create` made for this key. A new key replaces it; a hot reload keeps it.
 *
 * @template T
 * @param {unknown} key
 * @param {() => T} create
 * @returns {T}
 */
export function useKeyed(key, create) {
  const [slot, setSlot] = useState(() => ({ key, value: create() }));
  if (Object.is(slot.key, key)) return slot.value;
  const next = { key, value: create() };
  setSlot(next);
  return next.value;
}

/**
 * Runs an action, and turns its outcome into a result.
 *
 * @template T
 * @param {Client | null} given
 * @param {(client: Client) => Promise<T>} run
 * @returns {Promise<Result<T>>}
 */
export async function act(given, run) {
  const client = given ?? pageClient();
  const release = given ? null : client.hold();
  try {
    return { ok: true, value: await run(client) };
  } catch (error) {
    return { ok: false, error: handleError(error) };
  } finally {
    release?.();
  }
}

/**
 * Returns the client that a hook uses, if it exists. It may be closed. Opens no session, so it may be called during
 * a render.
 *
 * @param {Client | null} given
 * @returns {Client | null}
 */
export function peek(given) {
  return given ?? currentClient();
}

/**
 * Reads the state of the client in use.
 *
 * @param {Client | null} given
 * @returns {State}
 */
export function readState(given) {
  return peek(given)?.store.getState() ?? INITIAL_STATE;
}

/**
 * Returns whether two objects have the same members.
 *
 * @param {object} a
 * @param {object} b
 * @returns {boolean}
 */
export function isShallowEqual(a, b) {
  const left = Object.entries(a);
  const right = new Map(Object.entries(b));
  return left.length === right.size && left.every(([name, value]) => Object.is(value, right.get(name)));
}

/**
 * Returns a selection of an external value. The component renders again only when the selection changed.
 *
 * @template S, T
 * @param {(listener: () => void) => Unsubscribe} subscribe
 * @param {() => S} read
 * @param {S} initial the value on a server and during hydration
 * @param {(value: S) => T} selector
 * @param {(a: T, b: T) => boolean} isEqual
 * @returns {T}
 */
export function useSelection(subscribe, read, initial, selector, isEqual) {
  const committed = useRef(/** @type {{value: T} | null} */ (null));
  const [get, getInitial] = useMemo(() => {
    /** @type {{from: S, value: T} | null} */
    let last = null;
    const select = (/** @type {S} */ from) => {
      if (last && Object.is(last.from, from)) return last.value;
      const value = selector(from);
      const known = last ?? committed.current;
      last = { from, value: known && isEqual(known.value, value) ? known.value : value };
      return last.value;
    };
    return [() => select(read()), () => select(initial)];
  }, [read, initial, selector, isEqual]);
  const value = useSyncExternalStore(subscribe, get, getInitial);
  useInsertionEffect(() => {
    committed.current = { value };
  });
  return value;
}

/**
 * Selects from the client's state. The component renders again only when the selection changed.
 *
 * @template T
 * @param {(state: State) => T} selector
 * @param {{client?: Client, isEqual?: (a: T, b: T) => boolean}} [options]
 * @returns {T}
 */
export function useStore(selector, options = {}) {
  const given = useGiven(options.client);
  const read = useCallback(() => readState(given), [given]);
  const subscribe = useCallback(
    (/** @type {() => void} */ listener) => hold(given, (client) => watchStore(client, listener)),
    [given],
  );
  return useSelection(subscribe, read, INITIAL_STATE, selector, options.isEqual ?? Object.is);
}

/**
 * Calls the listener after each change of a client's state, and at once: the client before may have had another.
 *
 * @param {Client} client
 * @param {() => void} listener
 */
function watchStore(client, listener) {
  const stop = client.store.subscribe(listener);
  listener();
  return stop;
}

/**
 * Returns functions that run on the client in use. Their identities never change.
 *
 * @template A
 * @param {Client | null} given
 * @param {(run: <T>(use: (client: Client) => Promise<T>) => Promise<Result<T>>) => A} create
 * @returns {A}
 */
export function useActions(given, create) {
  const latest = useLatest(given);
  const [actions] = useState(() => create((use) => act(latest.current, use)));
  return actions;
}
