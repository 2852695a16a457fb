/**
 * The states of the actors over time, folded from events as the runtime folds them. Pure.
 *
 * @typedef {import("../../protocol.d.ts").EventRecord} EventRecord
 * @typedef {import("../../protocol.d.ts").HistoryLanes} HistoryLanes
 * @typedef {import("../../protocol.d.ts").HistoryMoment} HistoryMoment
 * @typedef {import("../../protocol.d.ts").HistoryNode} HistoryNode
 * @typedef {import("../../protocol.d.ts").HistoryState} HistoryState
 * @typedef {import("../../protocol.d.ts").Lane} Lane
 * @typedef {import("../../protocol.d.ts").LaneMark} LaneMark
 */
/**
 * An actor at one moment. `state` is without what its health and its connection make of it.
 * @typedef {Omit<HistoryNode, "path" | "name" | "children"> & {
 *   health: string | null, isSuspended: boolean, isUnconnected: boolean,
 * }} Actor
 */
/**
 * A change: of one actor, or, without a path, of all, since a run has begun or ended.
 * @typedef {object} Step
 * @property {number} at
 * @property {string} cursor
 * @property {string | null} path
 * @property {Actor | null} actor
 * @property {LaneMark | null} mark
 * @property {boolean} isEnd
 */
/** @typedef {{ [name: string]: unknown, budget?: { used: number, max: number } }} Fields */

const LANES_MAX = 200;
const SPANS_MAX = 500;
const MARKS_MAX = 100;
const UNWELL = ["degraded", "failed", "unknown"];
/** @type {Record<string, string>} */
const EXITS = {
  normal: "ended in order",
  shutdown: "ended itself as a supervisor",
  error: "ended with an error",
  panic: "panicked",
  killed: "was killed",
  stuck: "made no progress and was killed",
  start_failed: "failed to start",
};

const iso = (/** @type {number} */ at) => new Date(at).toISOString();
const runOf = (/** @type {string} */ cursor) => Number(cursor.split(".")[0]);
const inWords = (/** @type {number} */ ms) => (ms < 1000 ? `${ms} ms` : `${Math.round(ms / 100) / 10} s`);

/** @param {Actor} actor @returns {HistoryState} */
function shown({ state, health, isSuspended, isUnconnected }) {
  if (state !== "up") return state;
  if (isSuspended || isUnconnected || UNWELL.includes(health ?? "")) return "degraded";
  return health === "starting" ? "starting" : "up";
}

/** Returns the sentence of an event that the timeline marks, or null. @param {string} kind @param {Fields} fields */
function markOf(kind, { cause, message, location, decision, delay_ms, attempt, budget, restarts, last_error, next_step }) {
  if (kind === "actor_exited" && cause !== "normal" && cause !== "shutdown")
    return `${EXITS[String(cause)]}${message ? `: ${message}` : ""}${location ? ` (at ${location})` : ""}`;
  const used = budget ? ` (${budget.used} of ${budget.max} restarts used)` : "";
  if (kind === "decision" && decision === "restart")
    return `decided: restart in ${inWords(Number(delay_ms ?? 0))}${attempt == null ? "" : `, attempt ${attempt}`}${used}`;
  if (kind === "decision") return `decided: ${String(decision).replaceAll("_", " ")}${used}`;
  if (kind === "gave_up")
    return `given up after ${restarts} restart${restarts === 1 ? "" : "s"}${last_error ? ` (${last_error})` : ""}: ${next_step}`;
  return null;
}

/**
 * Returns what an event changes of its actor; null if it is of a kind that changes nothing.
 * @param {Actor} actor
 * @param {string} kind
 * @param {Fields} fields
 * @param {number} generation
 * @param {number} at
 * @returns {Partial<Actor> | null}
 */
function changeOf(actor, kind, fields, generation, at) {
  switch (kind) {
    case "actor_started": {
      const isRestart = actor.generation > 0 && generation > actor.generation;
      return { state: "starting", restart_at: null, restarts: actor.restarts + Number(isRestart), generation };
    }
    case "actor_ready":
      return { state: "up", generation };
    case "actor_exited": {
      const last_error = markOf(kind, fields);
      const attempt = last_error ? actor.attempt : null;
      return { state: last_error ? "down" : "stopped", health: null, isSuspended: false, attempt, last_error };
    }
    case "decision": {
      const { decision, delay_ms, budget } = fields;
      if (decision === "give_up") return { state: "given_up", restart_at: null };
      if (decision !== "restart") return { state: "stopped", restart_at: null };
      const attempt = budget ? { number: budget.used, max: budget.max } : null;
      return { state: "restarting", restart_at: iso(at + Number(delay_ms ?? 0)), attempt };
    }
    case "gave_up":
      return { state: "given_up", restart_at: null };
    case "restart_cancelled":
      return { state: "stopped", restart_at: null };
    case "budget_reset":
      return { attempt: null };
    case "agent_health":
      return { health: String(fields.to) };
    case "backend_suspended":
    case "backend_resumed":
      return { isSuspended: kind === "backend_suspended" };
    case "connection_state":
      return { isUnconnected: fields.to === "reconnecting" || fields.to === "failed" };
    case "queue_held":
    case "queue_released":
      return {};
    default:
      return null;
  }
}

/** @param {number} at @returns {Actor} */
const newActor = (at) => ({
  state: "starting",
  since: iso(at),
  generation: 0,
  restarts: 0,
  attempt: null,
  restart_at: null,
  last_error: null,
  health: null,
  isSuspended: false,
  isUnconnected: false,
});

/** Sorts by the parts of paths, so that a parent comes before its children. @param {string} a @param {string} b */
const byPath = (a, b) => (a.replaceAll("/", "\0") < b.replaceAll("/", "\0") ? -1 : 1);

/** Keeps each change of an actor as one step. It takes events in order, across runs. */
export class HistoryFold {
  /** The actors after the last step. @type {Map<string, Actor>} */ #actors = new Map();
  /** The actors before the first step. @type {Map<string, Actor>} */ #base = new Map();
  /** @type {Step[]} */ #steps = [];
  #first = NaN;
  #last = NaN;
  #cursor = "";
  #keep;

  /** @param {number} [keep] the most steps that are kept */
  constructor(keep = 10_000) {
    this.#keep = keep;
  }

  /** @param {EventRecord} record */
  apply({ run, seq, at, mono_ms: _, actor: path, generation, kind, ...fields }) {
    const time = Date.parse(at);
    const cursor = `${run}.${seq}`;
    // A run that was killed has no event of its end.
    if (this.#cursor && runOf(this.#cursor) !== run) this.#end(this.#last, this.#cursor);
    this.#note(time, cursor);
    if (kind === "runtime_started") this.#push({ at: time, cursor, path: null, actor: null, mark: null, isEnd: false });
    if (kind === "runtime_stopped") return this.#end(time, cursor);
    const all = /** @type {Fields} */ (fields);
    const change = changeOf(this.#actors.get(path) ?? newActor(time), kind, all, generation, time);
    if (!change) return;
    const summary = markOf(kind, all);
    const mark = summary == null ? null : { at: iso(time), cursor, kind, summary };
    this.#change(path, time, cursor, change, mark);
  }

  /**
   * Sets an actor to what is known of it, without an event.
   * @param {string} path
   * @param {number} at
   * @param {string} cursor
   * @param {Partial<Actor>} members
   */
  set(path, at, cursor, members) {
    this.#note(at, cursor);
    this.#change(path, at, cursor, members, null);
  }

  /**
   * Returns the tree as it was at a time, with the last event before it; null for both if no runtime was running.
   * @param {number} at
   * @returns {Pick<HistoryMoment, "cursor" | "tree">}
   */
  at(at) {
    if (!(this.#first <= at)) return { cursor: null, tree: null };
    const actors = new Map(this.#base);
    /** @type {string | null} */
    let cursor = null;
    for (const step of this.#steps.slice(0, this.#steps.findLastIndex((each) => each.at <= at) + 1)) {
      cursor = step.cursor;
      if (step.path == null || !step.actor) actors.clear();
      else actors.set(step.path, step.actor);
    }
    /** @type {Map<string, HistoryNode>} */
    const nodes = new Map();
    for (const path of [...actors.keys()].sort(byPath)) {
      const { health: _health, isSuspended: _suspended, isUnconnected: _unconnected, ...members } =
        /** @type {Actor} */ (actors.get(path));
      const cut = path.lastIndexOf("/");
      const state = shown(/** @type {Actor} */ (actors.get(path)));
      const node = { ...members, path, name: path.slice(cut + 1), state, children: [] };
      nodes.get(path.slice(0, Math.max(0, cut)))?.children.push(node);
      nodes.set(path, node);
    }
    return { cursor, tree: nodes.values().next().value ?? null };
  }

  /**
   * Returns the states over a span: from the first event, and to the last one, if absent.
   * @param {number} [from]
   * @param {number} [to]
   * @returns {HistoryLanes}
   */
  lanes(from = this.#first, to = this.#last) {
    if (Number.isNaN(this.#first)) return { from: null, to: null, lanes: [], lanes_left_out: 0, runs: [] };
    const sight = { from: Math.max(from, this.#first), to: Math.min(to, this.#last) };
    /** @type {Map<string, { spans: { from: number, to: number | null, state: HistoryState }[], marks: LaneMark[] }>} */
    const lanes = new Map();
    /** @type {{ run: number, from: number, to: number | null }[]} */
    const runs = [];
    const lane = (/** @type {string} */ path) => {
      const known = lanes.get(path) ?? { spans: [], marks: [] };
      lanes.set(path, known);
      return known;
    };
    const change = (/** @type {string} */ path, /** @type {number} */ at, /** @type {HistoryState | null} */ state) => {
      const { spans } = lane(path);
      const last = spans.at(-1);
      if (last?.to === null) {
        if (last.state === state) return;
        last.to = at;
        if (at <= sight.from) spans.pop();
      }
      if (state && at <= sight.to) pushBounded(spans, SPANS_MAX, { from: Math.max(at, sight.from), to: null, state });
    };
    const endRun = (/** @type {number} */ at) => {
      for (const path of lanes.keys()) change(path, at, null);
      const run = runs.at(-1);
      if (run) run.to ??= at;
    };
    let before = this.#first;
    for (const [path, actor] of this.#base) change(path, before, shown(actor));
    for (const { at, cursor, path, actor, mark, isEnd } of this.#steps) {
      if (runs.at(-1)?.run !== runOf(cursor)) {
        endRun(before);
        runs.push({ run: runOf(cursor), from: at, to: null });
      }
      before = at;
      if (isEnd) endRun(at);
      if (path == null) continue;
      change(path, at, actor && shown(actor));
      if (mark && at >= sight.from && at <= sight.to) pushBounded(lane(path).marks, MARKS_MAX, mark);
    }
    // What lasts beyond the end is cut there, unless the end is now.
    const openEnd = sight.to < this.#last ? sight.to : null;
    const cut = (/** @type {number | null} */ end) => (end == null ? openEnd : Math.min(end, sight.to));
    /** @type {Lane[]} */
    const all = [...lanes]
      .filter(([, { spans, marks }]) => spans.length || marks.length)
      .sort(([, a], [, b]) => Number(!a.marks.length) - Number(!b.marks.length))
      .map(([actor, { spans, marks }]) => ({ actor, spans: spans.map((span) => inTimes({ ...span, to: cut(span.to) })), marks }));
    return {
      from: iso(sight.from),
      to: iso(sight.to),
      lanes: all.slice(0, LANES_MAX).sort((a, b) => byPath(a.actor, b.actor)),
      lanes_left_out: Math.max(0, all.length - LANES_MAX),
      runs: runs.filter((run) => run.from <= sight.to && (run.to ?? Infinity) >= sight.from).map(inTimes),
    };
  }

  /** @param {number} at @param {string} cursor */
  #note(at, cursor) {
    if (Number.isNaN(this.#first)) this.#first = at;
    this.#last = at;
    this.#cursor = cursor;
  }

  /**
   * @param {string} path
   * @param {number} at
   * @param {string} cursor
   * @param {Partial<Actor>} change
   * @param {LaneMark | null} mark
   */
  #change(path, at, cursor, change, mark) {
    const before = this.#actors.get(path);
    const actor = { ...(before ?? newActor(at)), ...change };
    if (!before || shown(before) !== shown(actor)) actor.since = iso(at);
    this.#actors.set(path, actor);
    this.#push({ at, cursor, path, actor, mark, isEnd: false });
  }

  /** Ends a run. @param {number} at @param {string} cursor */
  #end(at, cursor) {
    this.#actors.clear();
    this.#push({ at, cursor, path: null, actor: null, mark: null, isEnd: true });
  }

  /** @param {Step} step */
  #push(step) {
    this.#steps.push(step);
    if (this.#steps.length <= this.#keep) return;
    const [oldest] = this.#steps.splice(0, 1);
    if (oldest.path == null || !oldest.actor) this.#base.clear();
    else this.#base.set(oldest.path, oldest.actor);
    this.#first = oldest.at;
  }
}

/**
 * @template T
 * @param {T[]} list
 * @param {number} max
 * @param {T} item
 */
function pushBounded(list, max, item) {
  if (list.length === max) list.shift();
  list.push(item);
}

/**
 * Returns a span with its times as texts.
 * @template {{ from: number, to: number | null }} T
 * @param {T} span
 */
const inTimes = (span) => ({ ...span, from: iso(span.from), to: span.to == null ? null : iso(span.to) });
