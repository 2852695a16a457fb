/** The lines of logs. The client loads this module with the first listener. */
import { createListeners } from "./listeners.js";
import { subscribe } from "./streams.js";

/**
 * @typedef {import("../protocol.d.ts").LogLine} LogLine
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./session.js").Session} Session
 * @typedef {import("./streams.js").LogItem} LogItem
 */
/**
 * The place of a listener in a log: the time of the last line, and the lines of that time.
 * @typedef {{ at: string, keys: string[] }} LogPlace
 * @typedef {object} LogListener
 * @property {(item: LogItem) => void} listener
 * @property {{ lines?: number, sinceMs?: number }} range
 * @property {LogPlace | null} place
 * @property {LogLine[] | null} early the pushed lines that wait for those that are read; null after these
 * @property {LogPlace | null} overlap the place up to which pushed lines may repeat those that were read
 */

/**
 * @typedef {object} LogMethods
 * @property {() => void} ask
 * @property {(entry: LogListener) => void} read reads the lines that a listener does not have
 * @property {(entry: LogListener, lines: LogLine[]) => void} push
 * @property {(entry: LogListener, lines: LogLine[]) => void} put
 * @typedef {ReturnType<typeof createListeners<LogItem, LogListener>> & LogMethods} LogChannel
 */

const LINES_MAX = 10_000;
/** Clocks of page and runtime may differ by so much. */
const SLACK_MS = 5_000;

/** @param {LogLine} line */
const lineKey = (line) => line.stream + line.text;

/** @param {LogPlace | null} place */
const copy = (place) => place && { at: place.at, keys: [...place.keys] };

/**
 * Returns the lines after a place. Uses the place up.
 * @param {LogLine[]} lines
 * @param {LogPlace | null} place
 */
function linesAfter(lines, place) {
  return lines.filter((line) => {
    if (line.at !== place?.at) return !place || line.at > place.at;
    const index = place.keys.indexOf(lineKey(line));
    if (index >= 0) place.keys.splice(index, 1);
    return index < 0;
  });
}

/**
 * Creates the streams of logs: one subscription for each log. Each listener reads its first lines by itself.
 * @param {Session} session
 * @param {Clock} clock
 */
export function createLogs(session, clock) {
  /** @type {Map<string, LogChannel>} */
  const channels = new Map();

  /** @param {string} log */
  const open = (log) => {
    /** @type {LogChannel} */
    const channel = {
      .../** @type {typeof createListeners<LogItem, LogListener>} */ (createListeners)((isEmpty) => {
        if (isEmpty && channels.delete(log)) session.tell({ type: "logs", action: "unlisten", log });
      }),
      ask: () => subscribe(session, { type: "logs", action: "listen", log, lines: 0 }, channel.giveAll),
      read(entry) {
        const { place, range } = entry;
        /** @type {LogLine[]} */
        const early = (entry.early = []);
        entry.overlap = null;
        /** @param {{ lines: LogLine[] }} reply */
        const take = ({ lines }) => {
          if (entry.early !== early) return;
          entry.early = null;
          channel.put(entry, linesAfter(lines, copy(entry.place)));
          entry.overlap = copy(entry.place);
          channel.push(entry, early);
        };
        if (!session.isUp()) return;
        const lines = place ? LINES_MAX : range.lines;
        const since_ms = place ? Math.max(0, clock.now() - Date.parse(place.at)) + SLACK_MS : range.sinceMs;
        session.ask({ type: "logs", action: "read", log, lines, since_ms }).then(
          (reply) => take(/** @type {{ lines: LogLine[] }} */ (reply)),
          () => session.isUp() && take({ lines: [] }),
        );
      },
      push(entry, lines) {
        if (entry.early) return void entry.early.push(...lines);
        const { overlap } = entry;
        const fresh = linesAfter(lines, overlap);
        if (overlap && fresh.some(({ at }) => at > overlap.at)) entry.overlap = null;
        channel.put(entry, fresh);
      },
      put(entry, lines) {
        const at = lines.at(-1)?.at;
        if (at == null) return;
        const keys = lines.filter((line) => line.at === at).map(lineKey);
        entry.place = { at, keys: entry.place?.at === at ? entry.place.keys.concat(keys) : keys };
        channel.give(entry, { lines });
      },
    };
    channels.set(log, channel);
    channel.ask();
    return channel;
  };

  return {
    /**
     * @param {string} log
     * @param {(item: LogItem) => void} listener
     * @param {{ lines?: number, sinceMs?: number }} range
     */
    listen(log, listener, range) {
      const channel = channels.get(log) ?? open(log);
      /** @type {LogListener} */
      const entry = { listener, range, place: null, early: null, overlap: null };
      const stop = channel.add(entry);
      channel.read(entry);
      return stop;
    },
    /** Listens over a new link, and reads what was written meanwhile. */
    open() {
      for (const channel of channels.values()) {
        channel.ask();
        channel.entries.forEach(channel.read);
      }
    },
    /** @param {{ log: string, lines?: LogLine[], lagged?: number, ended?: true }} push */
    onPush({ log, lines, ...item }) {
      const channel = channels.get(log);
      if (!channel) return;
      if (!lines) return channel.giveAll(/** @type {LogItem} */ (item));
      for (const entry of [...channel.entries]) channel.push(entry, lines);
    },
    close() {
      for (const { entries } of channels.values()) entries.clear();
    },
  };
}
