/** Keeps one load per client and key, however many components show it. */
import { useCallback, useSyncExternalStore } from "react";

import { hold, peek, useLatest } from "./source.js";

/** @import { Client } from "../client.js" */
/** @import { Unsubscribe } from "../clock.js" */

/**
 * @template V
 * @typedef {object} SharedEntry
 * @property {() => V} get
 * @property {(change: Partial<V>) => void} set shows these members
 * @property {AbortSignal} signal aborted once no component shows the entry
 */

/**
 * @template V
 * @typedef {object} Held
 * @property {SharedEntry<V>} entry
 * @property {Set<() => void>} listeners
 * @property {ReturnType<typeof setTimeout> | null} timer
 * @property {() => void} drop
 */

/**
 * Creates a table of shared entries.
 *
 * @template {object} V
 * @param {V} initial
 */
export function createShared(initial) {
  /** @type {WeakMap<Client, Map<unknown, Held<V>>>} */
  const clients = new WeakMap();

  const tableOf = (/** @type {Client} */ client) => {
    const table = clients.get(client) ?? new Map();
    clients.set(client, table);
    return table;
  };

  /**
   * Creates an entry, and begins its load.
   *
   * @param {Map<unknown, Held<V>>} table
   * @param {unknown} key
   * @param {(entry: SharedEntry<V>) => Unsubscribe | undefined} begin
   * @param {Unsubscribe} release gives the client back, which the load needs
   */
  const create = (table, key, begin, release) => {
    let value = initial;
    const controller = new AbortController();
    const listeners = new Set();
    const set = (/** @type {Partial<V>} */ change) => {
      value = { ...value, ...change };
      for (const listener of [...listeners]) listener();
    };
    const entry = { get: () => value, set, signal: controller.signal };
    /** @type {Unsubscribe | undefined} */
    let end;
    const drop = () => {
      table.delete(key);
      controller.abort();
      end?.();
      release();
    };
    const held = { entry, listeners, timer: null, drop };
    table.set(key, held);
    end = begin(entry);
    return held;
  };

  return {
    initial,
    /**
     * Reads an entry without creating it.
     *
     * @param {Client | null} client
     * @param {unknown} key
     */
    read: (client, key) => (client && clients.get(client)?.get(key)?.entry.get()) || initial,

    /**
     * Returns an entry that a component shows now.
     *
     * @param {Client | null} client
     * @param {unknown} key
     */
    find: (client, key) => (client && clients.get(client)?.get(key)?.entry) || null,

    /**
     * Shows an entry until the returned function is called. The last one to leave ends the load after
     * `keepMs`.
     *
     * @param {Client} client
     * @param {unknown} key
     * @param {() => void} listener
     * @param {{begin: (entry: SharedEntry<V>) => Unsubscribe | undefined, keepMs: () => number}} options
     * @returns {Unsubscribe}
     */
    show(client, key, listener, { begin, keepMs }) {
      const table = tableOf(client);
      const held = table.get(key) ?? create(table, key, begin, client.hold());
      if (held.timer !== null) clearTimeout(held.timer);
      held.timer = null;
      held.listeners.add(listener);
      listener();
      return () => {
        held.listeners.delete(listener);
        if (held.listeners.size) return;
        // A failure is not kept: who comes next tries again.
        if ("error" in held.entry.get() && /** @type {{ error: unknown }} */ (held.entry.get()).error) held.drop();
        else held.timer = setTimeout(held.drop, keepMs());
      };
    },
  };
}

/**
 * Shows a shared entry in a component.
 *
 * @template {object} V
 * @param {ReturnType<typeof createShared<V>>} shared
 * @param {Client | null} given
 * @param {unknown} key
 * @param {{begin: (client: Client, entry: SharedEntry<V>) => Unsubscribe | undefined, keepMs: number}}
 *   options
 * @returns {V}
 */
export function useShared(shared, given, key, options) {
  const latest = useLatest(options);
  const subscribe = useCallback(
    (/** @type {() => void} */ listener) =>
      hold(given, (client) =>
        shared.show(client, key, listener, {
          begin: (entry) => latest.current.begin(client, entry),
          keepMs: () => latest.current.keepMs,
        }),
      ),
    [shared, given, key, latest],
  );
  const read = () => shared.read(peek(given), key);
  return useSyncExternalStore(subscribe, read, () => shared.initial);
}
