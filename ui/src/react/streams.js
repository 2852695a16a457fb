/** Hooks for changes of files, logs, incidents and events. */
import { useCallback, useMemo, useState } from "react";

import { handleError, MainstayError } from "../errors.js";
import { createGlob, createMerge, isWithin } from "../file-changes.js";
import { useFold } from "./fold.js";
import { useReading } from "./reading.js";
import { useGiven, useLatest, useStore } from "./source.js";

/** @import { Client } from "../client.js" */
/** @import { EventBatch, FileItem, LogItem } from "../streams.js" */
/** @import { Cursor, EventGap, EventKind, EventRecord, IncidentStory, LogLine } from "../../protocol.d.ts" */
/** @import { MergedChange } from "../file-changes.js" */
/** @import { State } from "../store.js" */

/**
 * Keeps the last items.
 *
 * @template T
 * @param {readonly T[]} items
 * @param {number} limit
 */
const last = (items, limit) => (items.length > limit ? items.slice(-limit) : items);

/**
 * @typedef {object} WatcherOptions
 * @property {readonly string[]} [folders] the folders of interest; each is one of `cache.watch`, or below one
 * @property {readonly string[]} [globs] such as `*.md`, `src/**` or `!*.tmp`; none for every file
 * @property {number} [debounceMs] the quiet time before changes are shown, 100 if absent
 * @property {AbortSignal} [signal] ends the watch
 * @property {number} [limit] the most changes that are kept, 1,000 if absent
 * @property {(changes: MergedChange[]) => void} [onChanges] called with each batch
 * @property {Client} [client]
 */

/** The longest delay of a change, in quiet times: a file that is written without end is shown too. */
const QUIETS_MAX = 10;

/**
 * Collects changes until they are quiet, and passes them on.
 *
 * @param {() => WatcherOptions} options
 * @param {(changes: MergedChange[]) => void} pass
 */
function createDebounce(options, pass) {
  const merge = createMerge();
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;
  let firstAt = 0;
  const flush = () => {
    timer = null;
    const changes = merge.take();
    if (changes.length) pass(changes);
  };
  const wait = () => {
    const quiet = options().debounceMs ?? 100;
    const now = Date.now();
    if (timer === null) firstAt = now;
    else clearTimeout(timer);
    timer = setTimeout(flush, Math.max(0, Math.min(quiet, firstAt + QUIETS_MAX * quiet - now)));
  };
  const stop = () => {
    if (timer !== null) clearTimeout(timer);
  };
  return { merge, wait, stop };
}

/**
 * Starts a watch, and passes batches of changes on.
 *
 * @param {Client} client
 * @param {() => WatcherOptions} options
 * @param {{pass: (changes: MergedChange[]) => void, fail: (error: MainstayError) => void}} to
 */
function watch(client, options, { pass, fail }) {
  const { folders = [], globs = [], signal } = options();
  const matches = createGlob(globs);
  const { merge, wait, stop } = createDebounce(options, pass);
  const isOfInterest = (/** @type {string} */ path) =>
    !folders.length || folders.some((folder) => isWithin(path, folder));
  const take = (/** @type {FileItem} */ item) => {
    if ("error" in item) return fail(item.error);
    if ("lagged" in item) {
      const watched = client.store.getState().cache?.folders.map(({ path }) => path);
      for (const root of folders.length ? folders : (watched ?? []))
        merge.add({ kind: "rescan", root, path: root }, Date.now());
      return wait();
    }
    const { kind, root, path, from } = item;
    const isRescan =
      kind === "rescan" && (!folders.length || folders.some((folder) => isWithin(folder, root)));
    const isWanted = [path, from].some(
      (each) => each !== undefined && isOfInterest(each) && matches(each, root),
    );
    if (!isRescan && !isWanted) return undefined;
    merge.add(item, Date.now());
    return wait();
  };
  const unsubscribe = client.onFiles(take);
  const end = () => {
    stop();
    unsubscribe();
    signal?.removeEventListener("abort", end);
  };
  if (signal?.aborted) end();
  else signal?.addEventListener("abort", end);
  return end;
}

/**
 * Returns the folder of these that the runtime does not watch, with the reason.
 *
 * @param {State} state
 * @param {readonly string[]} folders
 * @returns {string | null}
 */
function findUnwatched({ cache }, folders) {
  if (!cache) return null;
  const isWatched = (/** @type {string} */ folder) => {
    const root = cache.folders.find(({ path }) => isWithin(folder, path));
    return root?.is_watched === true;
  };
  return folders.find((folder) => !isWatched(folder)) ?? null;
}

/** @type {readonly MergedChange[]} */
const NO_CHANGES = [];

/**
 * Returns the changes of files in folders that the runtime watches, one per file and save.
 *
 * @param {WatcherOptions} [options]
 * @returns {{changes: readonly MergedChange[], clear: () => void, error: MainstayError | null}}
 */
export function useFileWatcher(options = {}) {
  const { client, folders = [], globs = [], signal, limit = 1_000 } = options;
  const latest = useLatest(options);
  const [failure, setFailure] = useState(/** @type {MainstayError | null} */ (null));
  const unwatched = useStore((state) => findUnwatched(state, folders), { client });
  const number = useSignalNumber(signal);
  const [changes, fold] = useFold({
    client,
    key: JSON.stringify([folders, globs, number]),
    initial: NO_CHANGES,
    reduce: (value, /** @type {MergedChange[][]} */ batches) => last([...value, ...batches.flat()], limit),
    start: (used, push) => {
      setFailure(null);
      const pass = (/** @type {MergedChange[]} */ batch) => {
        push(batch);
        latest.current.onChanges?.(batch);
      };
      return watch(used, () => latest.current, { pass, fail: setFailure });
    },
  });
  const clear = useCallback(() => fold.set(NO_CHANGES), [fold]);
  const error = useMemo(
    () => failure ?? (unwatched === null ? null : unwatchedError(unwatched)),
    [failure, unwatched],
  );
  return useMemo(() => ({ changes, clear, error }), [changes, clear, error]);
}

/** @type {WeakMap<AbortSignal, number>} */
const signals = new WeakMap();
let signalCount = 0;

/**
 * Returns a number for a signal, so that it can be part of a key.
 *
 * @param {AbortSignal | undefined} signal
 */
function useSignalNumber(signal) {
  if (!signal) return 0;
  const number = signals.get(signal) ?? ++signalCount;
  signals.set(signal, number);
  return number;
}

/** @param {string} folder */
function unwatchedError(folder) {
  return MainstayError.from({
    code: "NOT_FOUND",
    reason: "not_found",
    message: "The folder is not watched. Add it to the watched folders, or create it if it is missing.",
    details: `${JSON.stringify(folder)} is not below a folder of cache.watch that is watched`,
    retryable: false,
    attempts: 0,
  });
}

/**
 * @typedef {object} LogView
 * @property {readonly LogLine[]} lines
 * @property {number} lagged the files that were deleted before their lines were read
 * @property {boolean} hasEnded true if no line comes any more
 * @property {MainstayError | null} error
 */

/** @type {LogView} */
const NO_LINES = { lines: [], lagged: 0, hasEnded: false, error: null };

/**
 * Folds items of a log into its view.
 *
 * @param {LogView} view
 * @param {LogItem[]} items
 * @param {number} limit
 * @returns {LogView}
 */
function foldLog(view, items, limit) {
  const next = { ...view };
  const lines = items.flatMap((item) => ("lines" in item ? item.lines : []));
  if (lines.length) next.lines = last([...view.lines, ...lines], limit);
  for (const item of items) {
    if ("lagged" in item) next.lagged += item.lagged;
    if ("ended" in item) next.hasEnded = true;
    if ("error" in item) next.error = handleError(item.error);
  }
  return next;
}

/**
 * Returns the log of the backend or of an agent, and follows it.
 *
 * @param {string} id `backend` or an agent's id
 * @param {{client?: Client, lines?: number, sinceMs?: number, limit?: number}} [options] `lines`: how many
 *   earlier ones; `limit`: the most that are kept, 1,000 if absent
 * @returns {LogView & {clear: () => void}}
 */
export function useLogs(id, { client, lines, sinceMs, limit = 1_000 } = {}) {
  const [view, fold] = useFold({
    client,
    key: JSON.stringify([id, lines, sinceMs]),
    initial: NO_LINES,
    reduce: (value, /** @type {LogItem[]} */ items) => foldLog(value, items, limit),
    restart: () => NO_LINES,
    start: (used, push) => used.onLog(id, push, { lines, sinceMs }),
  });
  const clear = useCallback(() => fold.set({ ...fold.get(), lines: NO_LINES.lines }), [fold]);
  return useMemo(() => ({ ...view, clear }), [view, clear]);
}

/** @type {readonly IncidentStory[]} */
const NO_INCIDENTS = [];

/** @param {State} state */
const newestEvent = ({ isLive, status }) =>
  isLive && status ? `${status.runtime.run}.${status.runtime.seq}` : null;

/**
 * Returns the last incidents of the runtime's journal, newest first. They are listed again after new events.
 *
 * @param {{client?: Client, limit?: number}} [options]
 * @returns {{incidents: readonly IncidentStory[], isLive: boolean, error: MainstayError | null}} `isLive` is false before
 *   the first list, while the runtime does not answer, and after a list that failed, of which `error` is
 */
export function useIncidents({ client, limit = 20 } = {}) {
  const given = useGiven(client);
  const newest = useStore(newestEvent, { client });
  const { value: incidents, isLive, error } = useReading(
    given,
    newest && `${newest} ${limit}`,
    async (used) => (await used.command({ type: "incidents", limit })).incidents,
    NO_INCIDENTS,
  );
  return useMemo(() => ({ incidents, isLive, error }), [incidents, isLive, error]);
}

/**
 * @typedef {object} EventsView
 * @property {readonly EventRecord[]} events
 * @property {EventGap | null} lagged the last gap: events between these two are missing
 */

/** @type {EventsView} */
const NO_EVENTS = { events: [], lagged: null };

/**
 * Returns the events of the runtime's journal, the last `limit` of them. They come once per frame.
 *
 * @param {{
 *   client?: Client,
 *   kinds?: readonly EventKind[],
 *   after?: Cursor,
 *   limit?: number,
 *   onEvents?: (batch: EventBatch) => void,
 * }} [options]
 * @returns {EventsView & {clear: () => void}}
 */
export function useEvents({ client, kinds, after, limit = 1_000, onEvents } = {}) {
  const latest = useLatest(onEvents);
  const [view, fold] = useFold({
    client,
    key: JSON.stringify([kinds, after]),
    initial: NO_EVENTS,
    reduce: (value, /** @type {EventBatch[]} */ batches) => ({
      events: last([...value.events, ...batches.flatMap(({ events }) => events)], limit),
      lagged: batches.findLast((batch) => batch.lagged)?.lagged ?? value.lagged,
    }),
    // From a place on, they come again.
    restart: (value) => (after === undefined ? value : NO_EVENTS),
    start: (used, push) =>
      used.onEvents(
        (batch) => {
          push(batch);
          latest.current?.(batch);
        },
        { kinds: kinds ? [...kinds] : undefined, after },
      ),
  });
  const clear = useCallback(() => fold.set(NO_EVENTS), [fold]);
  return useMemo(() => ({ ...view, clear }), [view, clear]);
}
