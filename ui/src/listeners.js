import { reportListenerError } from "./errors.js";

/** @typedef {import("./clock.js").Unsubscribe} Unsubscribe */
/**
 * @template T
 * @typedef {{ listener: (item: T) => void }} Listening
 */

/**
 * Calls a listener. Its error is reported, and disturbs nothing else.
 * @template T
 * @param {((item: T) => unknown) | undefined} listener
 * @param {T} item
 */
export function call(listener, item) {
  try {
    listener?.(item);
  } catch (error) {
    reportListenerError(error);
  }
}

/**
 * Creates a set of listeners. None is called after its cancellation, and one that throws disturbs no other.
 * @template T
 * @template {Listening<T>} [E=Listening<T>]
 * @param {(isEmpty: boolean) => void} [onRemoved]
 */
export function createListeners(onRemoved) {
  /** @type {Set<E>} */
  const entries = new Set();
  /** @param {E} entry @param {T} item */
  const give = (entry, item) => {
    if (entries.has(entry)) call(entry.listener, item);
  };
  return {
    entries,
    give,
    /** @param {T} item */
    giveAll(item) {
      for (const entry of [...entries]) give(entry, item);
    },
    /** @param {E} entry @returns {Unsubscribe} */
    add(entry) {
      entries.add(entry);
      return () => {
        if (entries.delete(entry)) onRemoved?.(!entries.size);
      };
    },
  };
}
