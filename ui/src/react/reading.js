/** Reads something from the runtime again after each change, one reading at a time. */
import { useEffect, useRef, useState } from "react";

import { handleError } from "../errors.js";
import { share } from "../share.js";
import { peek, useLatest } from "./source.js";

/** @import { Client } from "../client.js" */
/** @import { MainstayError } from "../errors.js" */

/**
 * @template T
 * @typedef {{value?: T, error: MainstayError | null}} Reading
 */

/**
 * Creates a reader. What is asked for during a reading is read after it, once.
 *
 * @template T
 * @param {(reading: Reading<T>) => void} show
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
      /** @type {Reading<T>} */
      const reading = await now().then(
        (value) => ({ value, error: null }),
        (error) => ({ error: handleError(error) }),
      );
      if (!isOver) show(reading);
    }
    isBusy = false;
  };
  return { run, end: () => void (isOver = true) };
}

/**
 * Returns what `read` resolved to last, and whether that is what is so now. It is called again when `version` has
 * changed. Nothing is read while `version` is null. After a failure the value before it stays.
 *
 * @template T
 * @param {Client | null} given
 * @param {unknown} version
 * @param {(client: Client) => Promise<T>} read
 * @param {T} initial
 * @returns {{value: T, isLive: boolean, error: MainstayError | null}}
 */
export function useReading(given, version, read, initial) {
  const [reading, setReading] = useState({ value: initial, isLive: false, error: /** @type {MainstayError | null} */ (null) });
  const latest = useLatest(read);
  const reader = useRef(/** @type {ReturnType<typeof createReader<T>> | null} */ (null));
  useEffect(() => {
    const own = createReader((/** @type {Reading<T>} */ { value, error }) =>
      setReading((last) => ({
        value: value === undefined ? last.value : share(last.value, value),
        isLive: !error,
        error,
      })),
    );
    reader.current = own;
    return own.end;
  }, [given]);
  useEffect(() => {
    const client = version === null ? null : peek(given);
    if (!client) setReading((last) => (last.isLive ? { ...last, isLive: false } : last));
    else void reader.current?.run(() => latest.current(client));
  }, [given, version, latest]);
  return reading;
}
