/**
 * Shows a stream of the client in a component: each item is folded in, and the component renders once per
 * frame.
 */
import { useCallback, useSyncExternalStore } from "react";

import { createFrameFold } from "../frame-fold.js";
import { hold, useGiven, useKeyed, useLatest } from "./source.js";

/** @import { Client } from "../client.js" */
/** @import { Unsubscribe } from "../clock.js" */
/** @import { FrameFold } from "../frame-fold.js" */

/**
 * @template V, I
 * @typedef {object} FoldOptions
 * @property {Client | undefined} client
 * @property {string} key names the stream; another key begins with the initial value
 * @property {V} initial
 * @property {(value: V, items: I[]) => V} reduce
 * @property {(client: Client, push: (item: I) => void) => Unsubscribe} start begins the stream
 * @property {(value: V) => V} [restart] returns the value to begin with, of a stream that repeats earlier
 *   items
 */

/**
 * Returns the folded value and the fold itself.
 *
 * @template V, I
 * @param {FoldOptions<V, I>} options
 * @returns {[V, FrameFold<V, I>]}
 */
export function useFold(options) {
  const given = useGiven(options.client);
  const latest = useLatest(options);
  const { key } = options;
  const [fold, initial] = useKeyed(key, () => {
    const reduce = (/** @type {V} */ value, /** @type {I[]} */ items) => latest.current.reduce(value, items);
    return /** @type {const} */ ([createFrameFold(options.initial, reduce), options.initial]);
  });
  const subscribe = useCallback(
    (/** @type {() => void} */ listener) =>
      hold(given, (client) => {
        const { restart } = latest.current;
        if (restart) fold.set(restart(fold.get()));
        const unsubscribe = fold.subscribe(listener);
        const stop = latest.current.start(client, fold.push);
        return () => {
          stop();
          unsubscribe();
        };
      }),
    // The key stands for `start`: it names all that the stream depends on.
    [given, fold, latest, key],
  );
  const value = useSyncExternalStore(subscribe, fold.get, () => initial);
  return [value, fold];
}
