import { eachFrame, isHidden } from "./clock.js";
import { handleError } from "./errors.js";
import { createListeners } from "./listeners.js";

/**
 * @typedef {import("../protocol.d.ts").AgentUpdate} AgentUpdate
 * @typedef {import("../protocol.d.ts").BridgeCommand} BridgeCommand
 * @typedef {import("../protocol.d.ts").Cursor} Cursor
 * @typedef {import("../protocol.d.ts").EventGap} EventGap
 * @typedef {import("../protocol.d.ts").EventKind} EventKind
 * @typedef {import("../protocol.d.ts").EventRecord} EventRecord
 * @typedef {import("../protocol.d.ts").FileChange} FileChange
 * @typedef {import("../protocol.d.ts").LogLine} LogLine
 * @typedef {import("../protocol.d.ts").RuntimeReport} RuntimeReport
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./clock.js").Unsubscribe} Unsubscribe
 * @typedef {import("./errors.js").MainstayError} MainstayError
 * @typedef {import("./session.js").Session} Session
 */
/** @typedef {{ events: EventRecord[], lagged: EventGap | null, cursor: Cursor }} EventBatch */
/**
 * @typedef {import("../protocol.d.ts").Gap} Gap
 * @typedef {{ text: string } | { bytes: Uint8Array } | { gap: Gap } | { lagged: number } | { error: MainstayError }} Frame
 */
/** @typedef {{ lagged: number } | { ended: true } | { error: MainstayError }} Marker */
/**
 * An item about an agent. `restarted` says that the runtime is another one, so the numbers begin again.
 * @typedef {{ update: AgentUpdate } | { restarted: true } | Marker} AgentItem
 */
/** @typedef {FileChange | { lagged: number } | { error: MainstayError }} FileItem */
/** @typedef {{ lines: LogLine[] } | Marker} LogItem */

/**
 * Compares two cursors: below zero if `a` is earlier. No cursor is the earliest.
 * @param {Cursor | null} a
 * @param {Cursor | null} b
 */
export function compareCursors(a, b) {
  const [runA, seqA] = (a ?? "-1.0").split(".");
  const [runB, seqB] = (b ?? "-1.0").split(".");
  return +runA - +runB || +seqA - +seqB;
}

/** What is no cursor counts as none: a session must not fail for it. */
const CURSOR = /^\d+\.\d+$/;

/** @param {EventRecord} event */
const cursorOf = ({ run, seq }) => `${run}.${seq}`;

/**
 * Gives a command of a stream. Its error is an item for the listeners.
 * @param {Session} session
 * @param {BridgeCommand} command
 * @param {(item: { error: MainstayError }) => void} give
 * @param {(reply?: unknown) => void} [onReply]
 */
export function subscribe(session, command, give, onReply) {
  if (!session.isUp()) return;
  session.ask(command, { onReply }).catch((error) => session.isUp() && give({ error: handleError(error) }));
}

/** More events than this are delivered at once if frames do not come. */
const PENDING_EVENTS_MAX = 5000;

/**
 * @typedef {object} EventListener
 * @property {(batch: EventBatch) => void} listener
 * @property {readonly string[] | undefined} kinds
 * @property {Cursor | null} cursor
 * @property {number} since the number of the subscription from which it takes events
 * @property {EventBatch[]} batches
 */

/**
 * Creates the stream of events: one subscription, and a place in it for each listener.
 * @param {Session} session
 * @param {Clock} clock
 */
export function createEvents(session, clock) {
  const { entries, add, give } = /** @type {typeof createListeners<EventBatch, EventListener>} */ (
    createListeners
  )();
  /** @type {Cursor | null} */
  let cursor = null;
  /** @type {RuntimeReport | null} */
  let runtime = null;
  let asked = 0;
  let got = 0;
  let count = 0;
  let isPlanned = false;

  const frame = eachFrame(clock, () => {
    count = 0;
    for (const entry of [...entries]) for (const batch of entry.batches.splice(0)) give(entry, batch);
  });

  /** Subscribes from the earliest place that a listener needs. */
  const ask = () => {
    isPlanned = false;
    if (!session.isUp()) return;
    asked++;
    if (!entries.size) cursor = null;
    const known = [...entries].map((entry) => entry.cursor).filter((place) => place != null);
    session.tell({ type: "subscribe", after: known.sort(compareCursors)[0] });
  };
  const askSoon = () => {
    if (!isPlanned) queueMicrotask(ask);
    isPlanned = true;
  };

  /**
   * @param {EventListener} entry
   * @param {EventBatch} batch
   */
  const put = (entry, batch) => {
    const last = entry.batches.at(-1);
    entry.cursor = batch.cursor;
    count += batch.events.length;
    if (last && !last.lagged && !batch.lagged) {
      for (const event of batch.events) last.events.push(event);
      last.cursor = batch.cursor;
    } else entry.batches.push(batch);
    if (count >= PENDING_EVENTS_MAX && isHidden()) frame.run();
    else frame.plan();
  };

  /** Advances to a place. Returns the listeners that are before it. @param {Cursor} place */
  const advance = (place) => {
    if (compareCursors(place, cursor) > 0) cursor = place;
    return [...entries].filter((entry) => entry.since <= got && compareCursors(entry.cursor, place) < 0);
  };

  return {
    /**
     * @param {(batch: EventBatch) => void} listener
     * @param {{ kinds?: readonly EventKind[], after?: Cursor }} options
     */
    listen(listener, { kinds, after }) {
      const place = after && CURSOR.test(after) ? after : cursor;
      // The next snapshot tells whether the place is still to come.
      const isElsewhere = place !== cursor;
      if (isElsewhere) askSoon();
      return add({ listener, kinds, cursor: place, since: isElsewhere ? asked + 1 : 0, batches: [] });
    },
    /** Subscribes over a new link. */
    open() {
      asked = got = 0;
      for (const entry of entries) entry.since = 1;
      ask();
    },
    /**
     * Takes the snapshot of a subscription. Returns whether the runtime is another one than before.
     * @param {RuntimeReport} now
     * @param {Cursor} place
     */
    onSnapshot(now, place) {
      got++;
      const isOther = !!runtime && runtime.boot !== now.boot;
      const isForeign = isOther && now.run <= /** @type {RuntimeReport} */ (runtime).run;
      runtime = now;
      for (const entry of entries) {
        const after = entry.cursor;
        const isAhead = compareCursors(after, place) > 0;
        if (isAhead) askSoon();
        if (after != null && (isAhead || isForeign))
          put(entry, { events: [], lagged: { after, before: place }, cursor: place });
        entry.cursor ??= place;
      }
      if (cursor == null || isForeign || compareCursors(cursor, place) > 0) cursor = place;
      return isOther;
    },
    /** @param {EventRecord[]} events */
    onEvents(events) {
      const last = events.at(-1);
      if (!last) return;
      const place = cursorOf(last);
      for (const entry of advance(place)) {
        const from = events.findIndex((event) => compareCursors(cursorOf(event), entry.cursor) > 0);
        const { kinds } = entry;
        const fresh = events.slice(from).filter((event) => !kinds || kinds.includes(event.kind));
        if (fresh.length) put(entry, { events: fresh, lagged: null, cursor: place });
        else entry.cursor = place;
      }
    },
    /**
     * @param {EventGap} gap
     * @param {Cursor} place
     */
    onLagged({ after, before }, place) {
      for (const entry of advance(place)) {
        const own = compareCursors(entry.cursor, after) > 0 ? /** @type {Cursor} */ (entry.cursor) : after;
        put(entry, { events: [], lagged: { after: own, before }, cursor: place });
      }
    },
    close() {
      frame.clear();
      entries.clear();
    },
  };
}

/**
 * @typedef {{ listener: (item: AgentItem) => void, seq: number | null }} AgentListener
 * @typedef {ReturnType<typeof createListeners<AgentItem, AgentListener>>} AgentListeners
 * @typedef {object} AgentPlace
 * @property {number | null} seq the highest number that came
 * @property {boolean} isGone true if there is no such agent, or no longer
 * @property {boolean} isNew true before the first reply: what comes until then is of an earlier channel
 * @property {() => void} ask
 * @typedef {AgentListeners & AgentPlace} AgentChannel
 */

/**
 * Creates the streams of agents' updates: one subscription for each agent, and a place in it for each
 * listener.
 * @param {Session} session
 */
export function createAgents(session) {
  /** @type {Map<string, AgentChannel>} */
  const channels = new Map();

  /** Lets the numbers begin again. @param {AgentChannel} channel */
  const rewind = (channel) => {
    for (const place of [channel, ...channel.entries]) place.seq &&= 0;
  };

  /** Listens again, to an agent whose numbers begin again. @param {AgentChannel} channel */
  const restart = (channel) => {
    rewind(channel);
    channel.giveAll({ restarted: true });
    channel.ask();
  };

  /** @param {string} agent */
  const open = (agent) => {
    /** @type {AgentChannel} */
    const channel = {
      seq: null,
      isGone: false,
      isNew: session.isUp(),
      .../** @type {typeof createListeners<AgentItem, AgentListener>} */ (createListeners)((isEmpty) => {
        if (isEmpty && channels.delete(agent)) session.tell({ type: "agent", agent, action: "unlisten" });
      }),
      ask() {
        const seqs = [...channel.entries].map(({ seq }) => seq).filter((seq) => seq != null);
        const after = seqs.length ? Math.min(...seqs) : undefined;
        const command = /** @type {const} */ ({ type: "agent", agent, action: "listen", after });
        const fail = (/** @type {{ error: MainstayError }} */ item) => {
          channel.isGone = item.error.reason === "agent_unknown";
          channel.giveAll(item);
        };
        channel.isGone = false;
        subscribe(session, command, fail, (reply) => {
          channel.isNew = false;
          const seq = /** @type {import("../protocol.d.ts").AgentListenReply | undefined} */ (reply)?.seq;
          if (seq == null) return;
          // A number that is still to come: the runtime begins with its first update.
          if (after && seq < after) rewind(channel);
          // The updates begin after this number: who has got none yet comes back after it.
          for (const place of [channel, ...channel.entries]) place.seq ??= seq;
        });
      },
    };
    channels.set(agent, channel);
    return channel;
  };

  return {
    /**
     * @param {string} agent
     * @param {(item: AgentItem) => void} listener
     * @param {number} [after]
     */
    listen(agent, listener, after) {
      const known = channels.get(agent);
      const channel = known ?? open(agent);
      // A number that is still to come counts as 0. Without a session others may have come meanwhile.
      if (after != null && after > (channel.seq ?? after) && session.isUp()) after = 0;
      const stop = channel.add({ listener, seq: after ?? channel.seq });
      if (!known || known.isGone || (after != null && after < (known.seq ?? Infinity))) channel.ask();
      return stop;
    },
    /** Listens over a new link. The numbers of another run mean nothing. @param {boolean} isOther */
    open(isOther) {
      for (const channel of channels.values()) isOther ? restart(channel) : channel.ask();
    },
    /** Listens to agents that were added since. @param {{ id: string }[]} agents */
    onStatus(agents) {
      for (const [agent, channel] of channels) if (channel.isGone && agents.some(({ id }) => id === agent)) restart(channel);
    },
    /** @param {{ agent: string, update?: AgentUpdate, lagged?: number, ended?: true }} push */
    onPush({ agent, update, ...item }) {
      const channel = channels.get(agent);
      if (!channel) return;
      if ("ended" in item) channel.isGone = true;
      if (!update) return channel.giveAll(/** @type {AgentItem} */ (item));
      if (channel.isNew) return;
      const { seq } = update;
      for (const entry of [...channel.entries]) {
        if (entry.seq != null && seq <= entry.seq) continue;
        entry.seq = seq;
        channel.give(entry, { update });
      }
      channel.seq = Math.max(seq, channel.seq ?? 0);
    },
    close() {
      for (const { entries } of channels.values()) entries.clear();
    },
  };
}

/**
 * Creates the stream of changes in the watched folders.
 * @param {Session} session
 */
export function createFiles(session) {
  let isKnown = false;
  const { entries, add, giveAll } = /** @type {typeof createListeners<FileItem>} */ (createListeners)(
    (isEmpty) => {
      if (!isEmpty) return;
      isKnown = false;
      session.tell({ type: "files", action: "unlisten" });
    },
  );
  const ask = () => {
    isKnown = session.isUp();
    subscribe(session, { type: "files", action: "listen" }, giveAll);
  };
  return {
    /** @param {(item: FileItem) => void} listener */
    listen(listener) {
      const stop = add({ listener });
      if (entries.size === 1) ask();
      return stop;
    },
    /**
     * Listens over a new link. Changes may be missing, so each folder is to be read again.
     * @param {{ path: string }[]} folders
     */
    open(folders) {
      if (isKnown) for (const { path } of folders) giveAll({ kind: "rescan", root: path, path });
      if (entries.size) ask();
    },
    onPush: giveAll,
    close: () => entries.clear(),
  };
}
