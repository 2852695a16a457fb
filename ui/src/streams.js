import { isHidden, nextFrame } from "./clock.js";
import { handleError, reportListenerError } from "./errors.js";
import { fromBase64 } from "./bytes.js";

/**
 * @typedef {import("../protocol.d.ts").AgentUpdate} AgentUpdate
 * @typedef {import("../protocol.d.ts").Cursor} Cursor
 * @typedef {import("../protocol.d.ts").EventGap} EventGap
 * @typedef {import("../protocol.d.ts").EventRecord} EventRecord
 * @typedef {import("../protocol.d.ts").EventKind} EventKind
 * @typedef {import("../protocol.d.ts").FileChange} FileChange
 * @typedef {import("../protocol.d.ts").FrameItem} FrameItem
 * @typedef {import("../protocol.d.ts").LogLine} LogLine
 * @typedef {import("../protocol.d.ts").RuntimeReport} RuntimeReport
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./clock.js").Unsubscribe} Unsubscribe
 * @typedef {import("./errors.js").MainstayError} MainstayError
 * @typedef {import("./session.js").Session} Session
 */
/** @typedef {{ events: EventRecord[], lagged: EventGap | null, cursor: Cursor }} EventBatch */
/** @typedef {{ text: string } | { bytes: Uint8Array } | { gap: import("../protocol.d.ts").Gap } | { lagged: number }} Frame */
/**
 * An item about an agent. `restarted` says that the runtime is another one, so the numbers begin again.
 * @typedef {{ update: AgentUpdate } | { lagged: number } | { ended: true } | { restarted: true } | { error: MainstayError }} AgentItem
 */
/** @typedef {FileChange | { lagged: number } | { error: MainstayError }} FileItem */
/** @typedef {{ lines: LogLine[] } | { lagged: number } | { ended: true } | { error: MainstayError }} LogItem */

/**
 * Calls the listener of an entry, if that is still in its set.
 * @template T
 * @template {{ listener: (item: T) => void }} E
 * @param {Set<E>} set
 * @param {E} entry
 * @param {T} item
 */
function deliver(set, entry, item) {
  if (!set.has(entry)) return;
  try {
    entry.listener(item);
  } catch (error) {
    reportListenerError(error);
  }
}

/**
 * @template T
 * @template {{ listener: (item: T) => void }} E
 * @param {Set<E>} set
 * @param {T} item
 */
function deliverAll(set, item) {
  for (const entry of [...set]) deliver(set, entry, item);
}

/**
 * Compares two cursors: below zero if `a` is earlier.
 * @param {Cursor} a
 * @param {Cursor} b
 */
export function compareCursors(a, b) {
  const [runA, seqA] = a.split(".").map(Number);
  const [runB, seqB] = b.split(".").map(Number);
  return runA - runB || seqA - seqB;
}

/** More events than this are delivered at once, since frames do not come. */
const PENDING_EVENTS_MAX = 5000;

/**
 * @typedef {object} EventListener
 * @property {(batch: EventBatch) => void} listener
 * @property {Set<string> | null} kinds
 * @property {Cursor | null} cursor
 * @property {number} generation the subscription from which it takes events
 * @property {EventBatch[]} batches
 */

/** The events of the session: one subscription, and a place in it for each listener. */
export class EventStream {
  /** @type {Cursor | null} */ cursor = null;
  /** @type {RuntimeReport | null} */ #runtime = null;
  /** @type {Set<EventListener>} */ #listeners = new Set();
  #asked = 0;
  #got = 0;
  #isPlanned = false;
  #pending = 0;
  /** @type {Unsubscribe | null} */ #frame = null;
  #session;
  #clock;

  /**
   * @param {Session} session
   * @param {Clock} clock
   */
  constructor(session, clock) {
    this.#session = session;
    this.#clock = clock;
  }

  /**
   * @param {(batch: EventBatch) => void} listener
   * @param {{ kinds?: readonly EventKind[] | readonly string[], after?: Cursor }} options
   * @returns {Unsubscribe}
   */
  listen(listener, { kinds, after }) {
    const isLate = !!after && (!this.cursor || compareCursors(after, this.cursor) < 0);
    const entry = {
      listener,
      kinds: kinds ? new Set(kinds) : null,
      cursor: after ?? this.cursor,
      generation: isLate ? this.#asked + 1 : 0,
      batches: [],
    };
    this.#listeners.add(entry);
    if (isLate) this.#resubscribe();
    return () => void this.#listeners.delete(entry);
  }

  /** Subscribes again, from the earliest place that a listener needs. */
  open() {
    this.#asked = 1;
    this.#got = 0;
    for (const entry of this.#listeners) entry.generation = 1;
    this.#subscribe();
  }

  #resubscribe() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      this.#isPlanned = false;
      if (!this.#session.isUp) return;
      this.#asked++;
      this.#subscribe();
    });
  }

  #subscribe() {
    const cursors = [...this.#listeners].map((entry) => entry.cursor).concat(this.cursor);
    const known = /** @type {Cursor[]} */ (cursors.filter((cursor) => cursor));
    const after = known.sort(compareCursors)[0];
    this.#session.tell({ type: "subscribe", ...(after && { after }) });
  }

  /**
   * Takes the snapshot of a subscription. Returns whether the runtime is another one than before.
   * @param {RuntimeReport} runtime
   * @param {Cursor} cursor
   */
  onSnapshot(runtime, cursor) {
    this.#got++;
    const before = this.#runtime;
    const isOther = !!before && before.boot !== runtime.boot;
    const isForeign = isOther && runtime.run <= before.run;
    let isAhead = false;
    for (const entry of this.#listeners) {
      const isWrong = !!entry.cursor && compareCursors(entry.cursor, cursor) > 0;
      isAhead ||= isWrong;
      if (entry.cursor && (isWrong || isForeign)) this.#skip(entry, { after: entry.cursor, before: cursor }, cursor);
      entry.cursor ??= cursor;
    }
    if (!this.cursor || isForeign || compareCursors(this.cursor, cursor) > 0) this.cursor = cursor;
    this.#runtime = runtime;
    if (isAhead) this.#resubscribe();
    return isOther;
  }

  /** @param {EventRecord[]} events */
  onEvents(events) {
    const last = events.at(-1);
    if (!last) return;
    const cursor = /** @type {Cursor} */ (`${last.run}.${last.seq}`);
    for (const entry of this.#listeners) {
      if (entry.generation > this.#got || !entry.cursor || compareCursors(cursor, entry.cursor) <= 0) continue;
      const [run, seq] = entry.cursor.split(".").map(Number);
      const fresh = events.filter(
        (event) =>
          (event.run - run || event.seq - seq) > 0 && (!entry.kinds || entry.kinds.has(event.kind)),
      );
      entry.cursor = cursor;
      if (!fresh.length) continue;
      const batch = entry.batches.at(-1);
      if (batch && !batch.lagged) {
        for (const event of fresh) batch.events.push(event);
        batch.cursor = cursor;
      } else entry.batches.push({ events: fresh, lagged: null, cursor });
      this.#schedule(fresh.length);
    }
    if (!this.cursor || compareCursors(cursor, this.cursor) > 0) this.cursor = cursor;
  }

  /**
   * @param {EventGap} lagged
   * @param {Cursor} cursor
   */
  onLagged(lagged, cursor) {
    for (const entry of this.#listeners) {
      if (entry.generation > this.#got || !entry.cursor || compareCursors(entry.cursor, cursor) >= 0) continue;
      const after = compareCursors(entry.cursor, lagged.after) > 0 ? entry.cursor : lagged.after;
      this.#skip(entry, { after, before: lagged.before }, cursor);
    }
    if (!this.cursor || compareCursors(cursor, this.cursor) > 0) this.cursor = cursor;
  }

  close() {
    this.#frame?.();
    this.#frame = null;
    this.#listeners.clear();
  }

  /**
   * @param {EventListener} entry
   * @param {EventGap} lagged
   * @param {Cursor} cursor
   */
  #skip(entry, lagged, cursor) {
    entry.cursor = cursor;
    entry.batches.push({ events: [], lagged, cursor });
    this.#schedule(0);
  }

  /** @param {number} count */
  #schedule(count) {
    this.#pending += count;
    if (this.#pending >= PENDING_EVENTS_MAX && isHidden()) this.#flush();
    else this.#frame ??= nextFrame(this.#clock, () => this.#flush());
  }

  #flush() {
    this.#frame?.();
    this.#frame = null;
    this.#pending = 0;
    for (const entry of [...this.#listeners]) {
      const batches = entry.batches;
      entry.batches = [];
      for (const batch of batches) deliver(this.#listeners, entry, batch);
    }
  }
}

/**
 * @typedef {{ listener: (item: AgentItem) => void, seq: number | null }} AgentListener
 * @typedef {{ seq: number | null, listeners: Set<AgentListener> }} AgentChannel
 */

/** The updates of agents: one subscription for each agent, and a place in it for each listener. */
export class AgentStreams {
  /** @type {Map<string, AgentChannel>} */ #channels = new Map();
  #session;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
  }

  /**
   * @param {string} agent
   * @param {(item: AgentItem) => void} listener
   * @param {number} [after]
   * @returns {Unsubscribe}
   */
  listen(agent, listener, after) {
    const known = this.#channels.get(agent);
    const channel = known ?? { seq: null, listeners: new Set() };
    const entry = { listener, seq: after ?? channel.seq };
    channel.listeners.add(entry);
    if (!known) {
      this.#channels.set(agent, channel);
      this.#listen(agent, channel);
    } else if (after != null && after < (channel.seq ?? Infinity)) {
      this.#session.tell({ type: "agent", agent, action: "unlisten" });
      this.#listen(agent, channel);
    }
    return () => {
      if (!channel.listeners.delete(entry) || channel.listeners.size) return;
      if (this.#channels.get(agent) !== channel) return;
      this.#channels.delete(agent);
      this.#session.tell({ type: "agent", agent, action: "unlisten" });
    };
  }

  /** Listens again. The numbers of another run mean nothing. @param {boolean} isOther */
  open(isOther) {
    for (const [agent, channel] of this.#channels) {
      if (isOther) {
        for (const entry of channel.listeners) if (entry.seq != null) entry.seq = 0;
        if (channel.seq != null) channel.seq = 0;
        deliverAll(channel.listeners, /** @type {AgentItem} */ ({ restarted: true }));
      }
      this.#listen(agent, channel);
    }
  }

  /**
   * @param {string} agent
   * @param {AgentChannel} channel
   */
  #listen(agent, channel) {
    if (!this.#session.isUp) return;
    const known = [...channel.listeners].map((entry) => entry.seq).filter((seq) => seq != null);
    const after = known.length ? { after: Math.min(...known) } : null;
    this.#session.command({ type: "agent", agent, action: "listen", ...after }).catch((error) => {
      if (this.#session.isUp) deliverAll(channel.listeners, { error: handleError(error) });
    });
  }

  /** @param {{ agent: string, update?: AgentUpdate, lagged?: number, ended?: true }} push */
  onPush({ agent, update, lagged, ended }) {
    const channel = this.#channels.get(agent);
    if (!channel) return;
    if (lagged != null) deliverAll(channel.listeners, { lagged });
    if (ended) deliverAll(channel.listeners, { ended });
    if (!update) return;
    const { seq } = update;
    for (const entry of [...channel.listeners]) {
      if (seq != null && entry.seq != null && seq <= entry.seq) continue;
      entry.seq = seq ?? entry.seq;
      deliver(channel.listeners, entry, { update });
    }
    channel.seq = seq == null ? channel.seq : Math.max(seq, channel.seq ?? 0);
  }

  close() {
    for (const channel of this.#channels.values()) channel.listeners.clear();
    this.#channels.clear();
  }
}

/** @typedef {{ listener: (frame: Frame) => void, types: readonly string[], pattern: RegExp | null }} FrameListener */

/** Makes a test of patterns, in which `*` stands for any text without a slash. @param {readonly string[]} types */
function toPattern(types) {
  const source = types.map((type) =>
    type.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*\*|\*|\?/g, (star) => ({ "**": ".*", "*": "[^/]*" })[star] ?? "[^/]"),
  );
  return types.length ? new RegExp(`^(${source.join("|")})$`, "s") : null;
}

/** @param {string} text */
function frameType(text) {
  try {
    const type = JSON.parse(text)?.type;
    return typeof type === "string" ? type : null;
  } catch {
    return null;
  }
}

/** The backend's frames: one subscription that admits what any listener wants. */
export class FrameStream {
  /** @type {Set<FrameListener>} */ #listeners = new Set();
  #types = "";
  #session;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
  }

  /**
   * @param {(frame: Frame) => void} listener
   * @param {readonly string[]} types
   * @returns {Unsubscribe}
   */
  listen(listener, types) {
    const entry = { listener, types, pattern: toPattern(types) };
    this.#listeners.add(entry);
    this.#update();
    return () => {
      if (this.#listeners.delete(entry)) this.#update();
    };
  }

  /** Listens again after a lost session. Frames may be missing, so each listener gets a gap. */
  open() {
    if (this.#types) deliverAll(this.#listeners, { gap: { after: null, next: null } });
    this.#types = "";
    this.#update();
  }

  #update() {
    if (!this.#session.isUp) return;
    const entries = [...this.#listeners];
    const types = entries.every((entry) => entry.pattern) ? [...new Set(entries.flatMap((entry) => entry.types))] : [];
    const key = entries.length ? JSON.stringify(types) : "";
    if (key === this.#types) return;
    this.#types = key;
    this.#session.tell(
      key ? { type: "connection", action: "listen", types } : { type: "connection", action: "unlisten" },
    );
  }

  /** @param {FrameItem} item */
  onFrame(item) {
    const frame = "base64" in item ? { bytes: fromBase64(item.base64) } : item;
    const isFrame = "text" in frame || "bytes" in frame;
    /** @type {string | null | undefined} */
    let type;
    for (const entry of [...this.#listeners]) {
      if (isFrame && entry.pattern) {
        type ??= "text" in frame ? frameType(frame.text) : null;
        if (type == null || !entry.pattern.test(type)) continue;
      }
      deliver(this.#listeners, entry, frame);
    }
  }

  close() {
    this.#listeners.clear();
  }
}

/** The changes of files in the watched folders. */
export class FileStream {
  /** @type {Set<{ listener: (item: FileItem) => void }>} */ #listeners = new Set();
  #isKnown = false;
  #session;

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
  }

  /**
   * @param {(item: FileItem) => void} listener
   * @returns {Unsubscribe}
   */
  listen(listener) {
    const entry = { listener };
    this.#listeners.add(entry);
    if (this.#listeners.size === 1) this.#listen();
    return () => {
      if (!this.#listeners.delete(entry) || this.#listeners.size) return;
      this.#isKnown = false;
      this.#session.tell({ type: "files", action: "unlisten" });
    };
  }

  /** Listens again. Changes may be missing, so each folder is to be read again. @param {readonly string[]} folders */
  open(folders) {
    if (!this.#listeners.size) return;
    if (this.#isKnown) {
      for (const path of folders) this.onPush({ kind: "rescan", root: path, path });
    }
    this.#listen();
  }

  #listen() {
    if (!this.#session.isUp) return;
    this.#isKnown = true;
    this.#session.command({ type: "files", action: "listen" }).catch((error) => {
      if (this.#session.isUp) deliverAll(this.#listeners, { error: handleError(error) });
    });
  }

  /** @param {FileItem} item */
  onPush(item) {
    deliverAll(this.#listeners, item);
  }

  close() {
    this.#listeners.clear();
  }
}

/**
 * The place of a listener in a log: the time of the last line, and the lines of that time.
 * @typedef {{ at: string, keys: string[] }} LogPlace
 * @typedef {object} LogListener
 * @property {(item: LogItem) => void} listener
 * @property {number | undefined} lines
 * @property {number | undefined} sinceMs
 * @property {LogPlace | null} place
 * @property {LogLine[] | null} early the pushed lines that wait for those that are read; null after these
 * @property {LogPlace | null} overlap the place up to which pushed lines may repeat those that were read
 */

const LINES_MAX = 10_000;
/** Clocks of page and runtime may differ by so much. */
const SLACK_MS = 5_000;

/** @param {LogLine} line */
const lineKey = (line) => `${line.stream} ${line.text}`;

/** @param {LogPlace | null} place */
const copyPlace = (place) => place && { at: place.at, keys: [...place.keys] };

/**
 * Returns the lines after a place. Uses the place up.
 * @param {LogLine[]} lines
 * @param {LogPlace | null} place
 */
function linesAfter(lines, place) {
  if (!place) return lines;
  return lines.filter((line) => {
    if (line.at !== place.at) return line.at > place.at;
    const index = place.keys.indexOf(lineKey(line));
    if (index >= 0) place.keys.splice(index, 1);
    return index < 0;
  });
}

/** The lines of logs: one subscription for each log. Each listener reads its first lines by itself. */
export class LogStreams {
  /** @type {Map<string, Set<LogListener>>} */ #logs = new Map();
  #session;
  #clock;

  /**
   * @param {Session} session
   * @param {Clock} clock
   */
  constructor(session, clock) {
    this.#session = session;
    this.#clock = clock;
  }

  /**
   * @param {string} log
   * @param {(item: LogItem) => void} listener
   * @param {{ lines?: number, sinceMs?: number }} options
   * @returns {Unsubscribe}
   */
  listen(log, listener, { lines, sinceMs }) {
    const listeners = this.#logs.get(log) ?? new Set();
    /** @type {LogListener} */
    const entry = { listener, lines, sinceMs, place: null, early: [], overlap: null };
    listeners.add(entry);
    if (listeners.size === 1) {
      this.#logs.set(log, listeners);
      this.#listen(log, listeners);
    }
    this.#read(log, listeners, entry);
    return () => {
      if (!listeners.delete(entry) || listeners.size || this.#logs.get(log) !== listeners) return;
      this.#logs.delete(log);
      this.#session.tell({ type: "logs", action: "unlisten", log });
    };
  }

  /** Listens again, and reads what was written meanwhile. */
  open() {
    for (const [log, listeners] of this.#logs) {
      this.#listen(log, listeners);
      for (const entry of listeners) {
        entry.early = [];
        entry.overlap = null;
        this.#read(log, listeners, entry);
      }
    }
  }

  /**
   * @param {string} log
   * @param {Set<LogListener>} listeners
   */
  #listen(log, listeners) {
    if (!this.#session.isUp) return;
    this.#session.command({ type: "logs", action: "listen", log, lines: 0 }).catch((error) => {
      if (this.#session.isUp) deliverAll(listeners, { error: handleError(error) });
    });
  }

  /**
   * @param {string} log
   * @param {Set<LogListener>} listeners
   * @param {LogListener} entry
   */
  #read(log, listeners, entry) {
    if (!this.#session.isUp) return;
    const { place } = entry;
    const range = place
      ? { lines: LINES_MAX, since_ms: Math.max(0, this.#clock.now() - Date.parse(place.at)) + SLACK_MS }
      : { ...(entry.lines != null && { lines: entry.lines }), ...(entry.sinceMs != null && { since_ms: entry.sinceMs }) };
    const early = entry.early;
    /** @param {unknown} reply */
    const take = (reply) => {
      if (entry.early !== early) return;
      entry.early = null;
      const { lines } = /** @type {{ lines: LogLine[] }} */ (reply);
      this.#give(listeners, entry, linesAfter(lines, copyPlace(entry.place)));
      entry.overlap = copyPlace(entry.place);
      if (early?.length) this.#give(listeners, entry, this.#skipOverlap(entry, early));
    };
    this.#session.command({ type: "logs", action: "read", log, ...range }).then(take, () => {
      if (this.#session.isUp) take({ lines: [] });
    });
  }

  /**
   * @param {Set<LogListener>} listeners
   * @param {LogListener} entry
   * @param {LogLine[]} lines
   */
  #give(listeners, entry, lines) {
    const at = lines.at(-1)?.at;
    if (at == null) return;
    const keys = entry.place?.at === at ? entry.place.keys : [];
    for (const line of lines) if (line.at === at) keys.push(lineKey(line));
    entry.place = { at, keys };
    deliver(listeners, entry, { lines });
  }

  /**
   * @param {LogListener} entry
   * @param {LogLine[]} lines
   */
  #skipOverlap(entry, lines) {
    const { overlap } = entry;
    if (!overlap) return lines;
    const fresh = linesAfter(lines, overlap);
    if (fresh.some((line) => line.at > overlap.at)) entry.overlap = null;
    return fresh;
  }

  /** @param {{ log: string, lines?: LogLine[], lagged?: number, ended?: true }} push */
  onPush({ log, lines, lagged, ended }) {
    const listeners = this.#logs.get(log);
    if (!listeners) return;
    if (lagged != null) deliverAll(listeners, { lagged });
    if (ended) deliverAll(listeners, { ended });
    if (!lines) return;
    for (const entry of [...listeners]) {
      if (entry.early) entry.early.push(...lines);
      else this.#give(listeners, entry, this.#skipOverlap(entry, lines));
    }
  }

  close() {
    for (const listeners of this.#logs.values()) listeners.clear();
    this.#logs.clear();
  }
}
