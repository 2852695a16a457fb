/** Reads something from the runtime again after each change, one reading at a time. */
import { useEffect, useRef, useState } from "react";

import { share } from "../share.js";
import { peek, useLatest } from "./source.js";

/** @import { Client } from "../client.js" */

/**
 * Creates a reader. What is asked for during a reading is read after it, once.
 *
 * @template T
 * @param {(value: T) => void} show
 */
function createReader(show) {
  /** @type {(() => Promise<T>) | null} */
  let next = null;
  let isBusy = false;
  let isOver = false;
  const run = async (/** @type {() => Promise<T>} */ read) => {
    next = read;
    if (isBusy) return;
    isBusy = true;
    while (next && !isOver) {
      const now = next;
      next = null;
      try {
        const value = await now();
        if (!isOver) show(value);
      } catch {
        // The session broke, or the runtime stops. The next state is another one, and is read.
      }
    }
    isBusy = false;
  };
  return { run, end: () => void (isOver = true) };
}

/**
 * Returns what `read` resolved to last. It is called again when `version` has changed. Nothing is read while
 * `version` is null.
 *
 * @template T
 * @param {Client | null} given
 * @param {unknown} version
 * @param {(client: Client) => Promise<T>} read
 * @param {T} initial
 * @returns {T}
 */
export function useReading(given, version, read, initial) {
  const [value, setValue] = useState(initial);
  const latest = useLatest(read);
  const reader = useRef(/** @type {ReturnType<typeof createReader<T>> | null} */ (null));
  useEffect(() => {
    const own = createReader((/** @type {T} */ next) => setValue((last) => share(last, next)));
    reader.current = own;
    return own.end;
  }, [given]);
  useEffect(() => {
    const client = version === null ? null : peek(given);
    if (client) void reader.current?.run(() => latest.current(client));
  }, [given, version, latest]);
  return value;
}
