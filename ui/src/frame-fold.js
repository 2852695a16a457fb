/**
 * Folds items into a value and shows it once per animation frame, so that a fast stream never blocks the
 * page.
 */
import { nextFrame, pageClock } from "./clock.js";

/**
 * The items that are folded without waiting for the frame. A hidden page has none, and memory stays bounded.
 */
const PENDING_MAX = 1_000;

/**
 * @template V, I
 * @typedef {object} FrameFold
 * @property {(item: I) => void} push takes an item, and shows it in the next frame
 * @property {() => V} get returns the value that is shown
 * @property {(listener: () => void) => () => void} subscribe calls the listener after each change
 * @property {(value: V) => void} set shows this value now, and drops items that wait
 */

/**
 * Creates a fold. `reduce` gets all items since the last call, in order, and returns the next value.
 *
 * @template V, I
 * @param {V} initial
 * @param {(value: V, items: I[]) => V} reduce
 * @returns {FrameFold<V, I>}
 */
export function createFrameFold(initial, reduce) {
  let value = initial;
  let shown = initial;
  /** @type {I[]} */
  let pending = [];
  /** @type {(() => void) | null} */
  let cancel = null;
  /** @type {Set<() => void>} */
  const listeners = new Set();
  const fold = () => {
    const items = pending;
    pending = [];
    if (items.length) value = reduce(value, items);
  };
  const show = () => {
    cancel?.();
    cancel = null;
    fold();
    if (Object.is(shown, value)) return;
    shown = value;
    for (const listener of [...listeners]) listener();
  };
  return {
    push(item) {
      pending.push(item);
      if (pending.length >= PENDING_MAX) fold();
      cancel ??= nextFrame(pageClock, show);
    },
    get: () => shown,
    subscribe(listener) {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        if (listeners.size) return;
        cancel?.();
        cancel = null;
        fold();
        shown = value;
      };
    },
    set(next) {
      pending = [];
      value = next;
      show();
    },
  };
}
