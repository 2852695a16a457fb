import { handleError, MainstayError, ownError } from "./errors.js";
import { countFailures, nextDelay, POLICY } from "./reconnect.js";

/**
 * @typedef {import("../protocol.d.ts").BridgeCommand} BridgeCommand
 * @typedef {import("../protocol.d.ts").ServerMessage} ServerMessage
 * @typedef {import("./clock.js").Clock} Clock
 */

/**
 * A connection that is open or being opened. After `close` it calls nothing.
 * @typedef {object} Link
 * @property {(text: string) => void} send
 * @property {() => void} close
 */
/**
 * @typedef {object} LinkEvents
 * @property {() => void} onOpen
 * @property {(message: string | object) => void} onMessage
 * @property {(error?: MainstayError) => void} onClose
 */
/**
 * @typedef {object} Transport
 * @property {(events: LinkEvents) => Link} open
 */
/**
 * The state of the session. `attempt` is the running or next one, or the one that succeeded.
 * @typedef {object} SessionState
 * @property {"connecting" | "open" | "waiting" | "closed"} state
 * @property {number} since
 * @property {number} attempt
 * @property {number | null} nextAttemptAt
 * @property {MainstayError | null} error
 */
/**
 * A push about a command: a member of its kind, or `lost` when the session broke.
 * @typedef {{ accepted?: { request_id?: number, message_id?: number }, progress?: import("../protocol.d.ts").RequestProgress,
 *   chunk?: string, end?: { bytes: number }, error?: import("../protocol.d.ts").ErrorObject, lost?: MainstayError }} Push
 */
/**
 * @typedef {object} CommandOptions
 * @property {AbortSignal} [signal]
 * @property {number} [waitMs] the longest wait for a session; no limit if absent
 * @property {(push: Push) => void} [onPush]
 * @property {boolean} [isStream] pushes go on after the reply, until `route` ends them
 * @property {(id: number) => void} [onSent]
 * @property {(id: number) => void} [onAbort] called in place of the usual cancellation
 */
/**
 * @typedef {object} Entry
 * @property {number} id
 * @property {BridgeCommand} command
 * @property {string} text
 * @property {boolean} isSent
 * @property {CommandOptions} options
 * @property {(value: unknown) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {() => void} cleanUp
 */

/** The most commands that wait for a session. */
const UNSENT_MAX = 1024;
/** A timer that fires later than this stood still meanwhile: what came is read first. */
const LATE_MS = 1000;
const READS = /^(GET|HEAD|OPTIONS|PUT|DELETE)$/;
const ACTS_TWICE = /^(restart|login|add|answer|reconnect)$/;

/** The errors of commands whose session broke. */
const losses = new WeakSet();

/** Returns whether an error says that the session broke before the reply. @param {unknown} error */
export function isLoss(error) {
  return losses.has(Object(error));
}

/**
 * Returns whether a command may be given twice: whether its loss leaves no doubt.
 * @param {BridgeCommand} command
 */
export function isRepeatable(command) {
  if (command.type === "request") return READS.test(command.method) || !!command.idempotency_key;
  const action = "action" in command ? command.action : "";
  if (action === "send") return "may_repeat" in command && command.may_repeat === true;
  return !ACTS_TWICE.test(action);
}

/** One session at a time: commands and replies, and a link that is opened again when it breaks. */
export class Session {
  /** @type {Link | null} */ #link = null;
  /** @type {Map<number, Entry>} */ #pending = new Map();
  /** @type {Map<number, (push: Push) => void>} */ #routes = new Map();
  /** @type {unknown} */ #timer;
  #nextId = 1;
  #failures = 0;
  /** @type {number | null} */ #openedAt = null;
  #receivedAt = 0;
  #unsent = 0;
  /** @type {{ clock: Clock, random: () => number, onState: (state: SessionState) => void, onOpen: () => void, onLost: () => void, onMessage: (message: ServerMessage) => void }} */
  #host;
  /** @type {Transport | null} */ #transport;
  /** @type {SessionState} */ state;

  /**
   * @param {Transport | null} transport
   * @param {{ clock: Clock, random: () => number, onState: (state: SessionState) => void, onOpen: () => void, onLost: () => void, onMessage: (message: ServerMessage) => void }} host
   */
  constructor(transport, host) {
    this.#transport = transport;
    this.#host = host;
    this.state = { state: "connecting", since: host.clock.now(), attempt: 1, nextAttemptAt: null, error: null };
  }

  /** Returns whether a link is open. */
  get isUp() {
    return this.#openedAt != null;
  }

  /** Opens a link now, unless one is open or being opened. An open one that was silent is checked. */
  retryNow() {
    if (this.state.state === "closed") return;
    if (!this.#link) this.#dial();
    else if (this.isUp && this.#host.clock.now() - this.#receivedAt >= LATE_MS) this.#probe();
  }

  /** Tells that the state below is live: the snapshot has come. */
  setLive() {
    if (this.isUp && this.state.state !== "open") this.#set("open", { error: null });
  }

  /** Closes the link until `retryNow`, as for a page that goes into the back/forward cache. */
  suspend() {
    if (this.state.state === "closed") return;
    this.#lose(ownError("disconnected"));
    this.#set("waiting", { nextAttemptAt: null });
  }

  /** Ends the session. Every pending promise rejects. @param {MainstayError} [error] */
  close(error = ownError("cancelled", "the client was closed")) {
    if (this.state.state === "closed") return;
    this.#lose(error);
    for (const entry of [...this.#pending.values()]) this.#settle(entry, error);
    this.#set("closed", { nextAttemptAt: null, error: this.#transport ? null : error });
  }

  /** Sends a command if a link is open, and ignores the reply. @param {BridgeCommand} command */
  tell(command) {
    if (this.isUp) this.command(command).catch(() => {});
  }

  /**
   * Passes further pushes about a command to `onPush`, or to nothing.
   * @param {number} id
   * @param {(push: Push) => void} [onPush]
   */
  route(id, onPush) {
    if (onPush && this.isUp) this.#routes.set(id, onPush);
    else this.#routes.delete(id);
  }

  /**
   * Sends a command, at once or when a link is open. The promise always settles.
   * @param {BridgeCommand} command
   * @param {CommandOptions} [options]
   * @returns {Promise<unknown>}
   */
  command(command, options = {}) {
    return new Promise((resolve, reject) => {
      const { signal, waitMs } = options;
      const id = this.#nextId++;
      const { clock } = this.#host;
      if (signal?.aborted) throw ownError("cancelled", undefined, { cause: signal.reason });
      if (this.state.state === "closed") throw this.state.error ?? ownError("cancelled", "the client is closed");
      if (!this.isUp && this.#unsent >= UNSENT_MAX) throw ownError("queue_full", "no session is open");
      let text;
      try {
        text = JSON.stringify({ id, ...command });
      } catch (cause) {
        throw ownError("invalid_request", String(cause), { cause });
      }
      const onAbort = () => this.#abort(entry);
      const expire = () => {
        if (!entry.isSent) this.#settle(entry, ownError("disconnected", `no session was open within ${waitMs} ms`));
      };
      const timer = waitMs == null || this.isUp ? null : clock.setTimeout(expire, waitMs);
      const cleanUp = () => {
        signal?.removeEventListener("abort", onAbort);
        if (timer != null) clock.clearTimeout(/** @type {never} */ (timer));
      };
      /** @type {Entry} */
      const entry = { id, command, text, isSent: false, options, resolve, reject, cleanUp };
      signal?.addEventListener("abort", onAbort);
      this.#pending.set(id, entry);
      this.#unsent++;
      if (this.isUp) this.#send(entry);
    });
  }

  /** @param {Entry} entry */
  #send(entry) {
    entry.isSent = true;
    this.#unsent--;
    if (entry.options.onPush) this.#routes.set(entry.id, entry.options.onPush);
    this.#link?.send(entry.text);
    entry.options.onSent?.(entry.id);
  }

  /** @param {Entry} entry */
  #abort(entry) {
    const { id, isSent, options, command } = entry;
    const cause = options.signal?.reason;
    this.#settle(entry, ownError("cancelled", undefined, { cause }));
    if (!isSent) return;
    if (options.onAbort) options.onAbort(id);
    else if (command.type === "request" || "action" in command && command.action === "send") {
      this.tell({ type: "cancel", request: id });
    }
  }

  /**
   * @param {Entry} entry
   * @param {MainstayError | null} error
   * @param {unknown} [value]
   */
  #settle(entry, error, value) {
    if (!this.#pending.delete(entry.id)) return;
    if (!entry.isSent) this.#unsent--;
    if (error || !entry.options.isStream) this.#routes.delete(entry.id);
    entry.cleanUp();
    if (error) entry.reject(error);
    else entry.resolve(value);
  }

  #dial() {
    const { clock } = this.#host;
    this.#clearTimer();
    if (!this.#transport) return this.close(ownError("invalid_config", "there is no address of a runtime"));
    this.#set("connecting", { attempt: this.#failures + 1, nextAttemptAt: null });
    /** @type {Link | null} */
    let link = null;
    let isOver = false;
    /** @param {(() => void)} act */
    const ifCurrent = (act) => {
      if (!isOver && (!link || link === this.#link)) act();
    };
    const end = (/** @type {MainstayError} */ error) => ifCurrent(() => {
      isOver = true;
      this.#fail(error);
    });
    this.#timer = clock.setTimeout(() => end(ownError("disconnected", "the link did not open in time")), POLICY.dialMs);
    try {
      link = this.#transport.open({
        onOpen: () => ifCurrent(() => this.#opened()),
        onMessage: (message) => ifCurrent(() => this.#receive(message)),
        onClose: (error) => end(error ?? ownError("disconnected")),
      });
    } catch (error) {
      return end(handleError(error));
    }
    if (isOver) link.close();
    else this.#link = link;
  }

  #opened() {
    if (this.isUp) return;
    this.#clearTimer();
    this.#openedAt = this.#receivedAt = this.#host.clock.now();
    this.#watch();
    this.#host.onOpen();
    for (const entry of [...this.#pending.values()]) if (!entry.isSent) this.#send(entry);
  }

  /** @param {string | object} message */
  #receive(message) {
    this.#receivedAt = this.#host.clock.now();
    let value;
    try {
      value = typeof message === "string" ? JSON.parse(message) : message;
    } catch (error) {
      return this.#fail(ownError("internal", `a message is not JSON: ${error}`));
    }
    const { id, request, agent, accepted, error } = value;
    const entry = this.#pending.get(id);
    if ("ok" in value || (error && "id" in value)) {
      if (entry?.isSent) this.#settle(entry, error ? new MainstayError(error) : null, value.ok);
      else this.#routes.delete(id);
    } else if (request != null) this.#routes.get(request)?.(value);
    else if (agent != null && accepted) this.#routes.get(accepted.id)?.(value);
    else this.#host.onMessage(value);
  }

  /** Checks that something comes in; else asks for a sign of life. */
  #watch() {
    const { clock } = this.#host;
    const idle = clock.now() - this.#receivedAt;
    if (idle >= POLICY.idleMs) return this.#probe();
    this.#clearTimer();
    this.#timer = clock.setTimeout(() => this.#watch(), POLICY.idleMs - idle);
  }

  #probe() {
    const { clock } = this.#host;
    const asked = clock.now();
    this.#clearTimer();
    this.tell({ type: "hello" });
    const judge = (/** @type {number} */ due) => {
      const now = clock.now();
      if (this.#receivedAt > asked || !this.isUp) return this.#watch();
      if (now - due < LATE_MS) return this.#fail(ownError("disconnected", "the runtime gives no sign of life"));
      this.#timer = clock.setTimeout(() => judge(now + LATE_MS), LATE_MS);
    };
    this.#timer = clock.setTimeout(() => judge(asked + POLICY.replyMs), POLICY.replyMs);
  }

  /** @param {MainstayError} error */
  #fail(error) {
    if (this.state.state === "closed") return;
    const { clock, random } = this.#host;
    const now = clock.now();
    this.#failures = countFailures(this.#failures, this.#openedAt, now);
    const delay = nextDelay(this.#failures, random);
    this.#lose(error);
    this.#set("waiting", { attempt: this.#failures + 1, nextAttemptAt: now + delay, error });
    this.#timer = clock.setTimeout(() => this.#dial(), delay);
  }

  /** Forgets the link, and settles what was sent over it. @param {MainstayError} error */
  #lose(error) {
    const wasUp = this.isUp;
    const link = this.#link;
    this.#link = this.#openedAt = null;
    this.#clearTimer();
    link?.close();
    const sent = [...this.#pending.values()].filter((entry) => entry.isSent);
    const routes = [...this.#routes.values()];
    this.#routes.clear();
    for (const entry of sent) {
      const own = isRepeatable(entry.command) ? "disconnected" : "outcome_unknown";
      const lost = ownError(own, `the session broke: ${error.details ?? error.reason}`, { cause: error });
      losses.add(lost);
      this.#settle(entry, lost);
    }
    for (const route of routes) route({ lost: ownError("disconnected", undefined, { cause: error }) });
    if (wasUp) this.#host.onLost();
  }

  /**
   * @param {SessionState["state"]} state
   * @param {Partial<SessionState>} more
   */
  #set(state, more) {
    const since = state === this.state.state ? this.state.since : this.#host.clock.now();
    this.state = { ...this.state, ...more, state, since };
    this.#host.onState(this.state);
  }

  #clearTimer() {
    this.#host.clock.clearTimeout(/** @type {never} */ (this.#timer));
    this.#timer = undefined;
  }
}
