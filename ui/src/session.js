import { createTimer } from "./clock.js";
import { handleError, MainstayError, ownError } from "./errors.js";
import { countFailures, nextDelay } from "./reconnect.js";

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
 * What a link calls, never before `open` has returned.
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
 * @typedef {object} Push
 * @property {{ request_id?: number, message_id?: number }} [accepted]
 * @property {import("../protocol.d.ts").RequestProgress} [progress]
 * @property {string} [chunk]
 * @property {{ bytes: number }} [end]
 * @property {import("../protocol.d.ts").ErrorObject} [error]
 * @property {MainstayError} [lost]
 */
/**
 * @typedef {object} CommandOptions
 * @property {AbortSignal} [signal]
 * @property {number} [waitMs] the longest wait for a session; a minute if absent
 * @property {(push: Push) => void} [onPush]
 * @property {boolean} [isStream] pushes go on after the reply, until `route` ends them
 * @property {(id: number) => void} [onSent]
 * @property {(reply?: unknown) => void} [onReply] called before anything that comes after the reply
 * @property {(id: number) => void} [onAbort] called in place of the usual cancellation
 */
/**
 * @typedef {object} Host
 * @property {Clock} clock
 * @property {() => number} random
 * @property {(state: SessionState) => void} onState
 * @property {() => void} onOpen
 * @property {() => void} onLost
 * @property {(message: ServerMessage) => void} onMessage
 */
/**
 * @typedef {object} Entry
 * @property {BridgeCommand} command
 * @property {() => void} send
 * @property {(error: MainstayError | null, value?: unknown) => void} settle
 */
/** @typedef {ReturnType<typeof createSession>} Session */

/** The longest time in which a link opens. */
const DIAL_MS = 10_000;
/** A link from which nothing came for so long is asked for a sign of life. */
const IDLE_MS = 15_000;
const REPLY_MS = 5_000;
/** The most commands that wait for a session. */
const UNSENT_MAX = 1024;
/** A timer that fires later than this stood still meanwhile: what came is read first. */
const LATE_MS = 1000;
/** Parts of a page may use the client before the code that knows the address: for so long it may come. */
const ADDRESS_MS = 1000;
const SAFE_METHODS = /^(GET|HEAD|OPTIONS|PUT|DELETE)$/;
const ACTS_TWICE = /^(restart|login|add|answer|reconnect)$/;

/** The longest wait for a session, unless the caller says otherwise. */
export const WAIT_MS = 60_000;
/** A timer takes no more. */
export const TIMER_MAX_MS = 2 ** 31;

const closedError = () => ownError("cancelled", "the client was closed");

/** The errors of commands whose session broke. */
const losses = new WeakSet();

/**
 * Returns the longest wait for a session.
 * @param {{ waitTimeoutMs?: number, deadlineMs?: number }} options
 */
export function longestWait({ waitTimeoutMs = WAIT_MS, deadlineMs }) {
  return Math.min(waitTimeoutMs, deadlineMs || Infinity);
}

/** Returns whether an error says that the session broke before the reply. @param {unknown} error */
export function isLoss(error) {
  return losses.has(Object(error));
}

/**
 * Returns whether a command may be given twice, so that its loss leaves no doubt.
 * @param {BridgeCommand} command
 */
export function isRepeatable(command) {
  if (command.type === "request") return SAFE_METHODS.test(command.method) || !!command.idempotency_key;
  const action = "action" in command ? command.action : "";
  return action === "send" ? "may_repeat" in command && !!command.may_repeat : !ACTS_TWICE.test(action);
}

/**
 * Creates a session: commands and replies, and one link at a time that is opened again when it breaks.
 * @param {Transport | null} transport
 * @param {Host} host
 */
export function createSession(transport, { clock, random, onState, onOpen, onLost, onMessage }) {
  /** The commands without a reply. All of them are sent while a link is open. @type {Map<number, Entry>} */
  const pending = new Map();
  /** @type {Map<number, (push: Push) => void>} */
  const routes = new Map();
  const timer = createTimer(clock);
  /** @type {Link | null} */
  let link = null;
  let nextId = 1;
  let failures = 0;
  /** @type {number | null} */
  let openedAt = null;
  let receivedAt = 0;
  /** False while an answer to a probe is awaited. */
  let isAnswered = true;
  /** @type {SessionState} */
  let state = { state: "connecting", since: clock.now(), attempt: 1, nextAttemptAt: null, error: null };

  const isUp = () => openedAt != null;

  /**
   * @param {SessionState["state"]} name
   * @param {Partial<SessionState>} more
   */
  const setState = (name, more) => {
    const since = name === state.state ? state.since : clock.now();
    state = { ...state, ...more, state: name, since };
    onState(state);
  };

  /** Forgets the link, and settles what was sent over it. @param {MainstayError} error */
  const lose = (error) => {
    const wasUp = isUp();
    const old = link;
    link = openedAt = null;
    timer.clear();
    old?.close();
    if (!wasUp) return;
    const details = `the session broke: ${error.details ?? error.reason}`;
    for (const { command, settle } of [...pending.values()]) {
      const lost = ownError(isRepeatable(command) ? "disconnected" : "outcome_unknown", details, error);
      losses.add(lost);
      settle(lost);
    }
    const streams = [...routes.values()];
    routes.clear();
    for (const handle of streams) handle({ lost: ownError("disconnected", details, error) });
    onLost();
  };

  /** @param {MainstayError} error */
  const fail = (error) => {
    failures = countFailures(failures, openedAt, clock.now());
    const delay = nextDelay(failures, random);
    lose(error);
    if (state.state === "closed") return;
    setState("waiting", { attempt: failures + 1, nextAttemptAt: clock.now() + delay, error });
    timer.set(dial, delay);
  };

  function dial() {
    setState("connecting", { attempt: failures + 1, nextAttemptAt: null });
    if (!transport) {
      timer.set(() => close(ownError("invalid_config", "no address of a runtime")), ADDRESS_MS);
      return;
    }
    /** @type {Link | null} */
    let own = null;
    /** @type {<T extends unknown[]>(act: (...args: T) => void) => (...args: T) => void} */
    const ifCurrent =
      (act) =>
      (...args) => {
        if (own && own === link) act(...args);
      };
    try {
      own = link = transport.open({
        onOpen: ifCurrent(opened),
        onMessage: ifCurrent(receive),
        onClose: ifCurrent((error) => fail(error ?? ownError("disconnected"))),
      });
    } catch (error) {
      return fail(handleError(error));
    }
    timer.set(() => fail(ownError("disconnected", "the runtime does not answer")), DIAL_MS);
  }

  function opened() {
    const waiting = [...pending.values()];
    openedAt = receivedAt = clock.now();
    isAnswered = true;
    watch();
    onOpen();
    for (const entry of waiting) entry.send();
  }

  /** Returns for how long nothing came. The wall clock may have been set back since. */
  const silence = () => clock.now() - (receivedAt = Math.min(receivedAt, clock.now()));

  /** Asks for a sign of life when nothing came for long. */
  function watch() {
    const left = IDLE_MS - silence();
    if (left > 0) timer.set(watch, left);
    else probe();
  }

  function probe() {
    // A second probe would put the end of a dead link off.
    if (!isAnswered) return;
    isAnswered = false;
    tell({ type: "hello" });
    const due = clock.now() + REPLY_MS;
    const judge = () => {
      if (isAnswered) watch();
      else fail(ownError("disconnected", "the runtime does not answer"));
    };
    // Only once: the timers of a hidden page may all be late.
    timer.set(() => (clock.now() < due + LATE_MS ? judge() : timer.set(judge, LATE_MS)), REPLY_MS);
  }

  /** @param {string | object} message */
  function receive(message) {
    receivedAt = clock.now();
    isAnswered = true;
    let value;
    try {
      value = typeof message === "string" ? JSON.parse(message) : message;
    } catch (cause) {
      return fail(handleError(cause));
    }
    const { id, request, accepted, error } = value;
    if ("id" in value) {
      const entry = pending.get(id);
      if (entry) entry.settle(error ? new MainstayError(error) : null, value.ok);
      else routes.delete(id);
    } else if (request != null || accepted) routes.get(request ?? accepted.id)?.(value);
    else onMessage(value);
  }

  /** Sends a command if a link is open, and ignores the reply. @param {BridgeCommand} command */
  function tell(command) {
    if (isUp()) ask(command).catch(() => {});
  }

  /**
   * Sends a command, at once or when a link is open. The promise always settles, also if no link opens.
   * @template T
   * @param {BridgeCommand} command
   * @param {CommandOptions} [options]
   * @returns {Promise<T>}
   */
  function ask(command, options = {}) {
    return new Promise((resolve, reject) => {
      const { signal, waitMs = WAIT_MS, onPush, isStream, onSent, onReply, onAbort } = options;
      const id = nextId++;
      const askedAt = clock.now();
      if (signal?.aborted) throw ownError("cancelled", "", signal.reason);
      if (state.state === "closed") throw state.error ?? closedError();
      if (!isUp() && pending.size >= UNSENT_MAX) throw ownError("queue_full");
      const given = /** @type {Record<string, unknown>} */ (command);
      const waited = () => Math.max(0, clock.now() - askedAt);
      /** Returns what is left of a limit that the wait for a session is part of. @param {string} name */
      const left = (name) => given[name] && Math.max(1, /** @type {number} */ (given[name]) - waited());
      const write = () =>
        JSON.stringify({ id, ...command, deadline_ms: left("deadline_ms"), wait_timeout_ms: left("wait_timeout_ms") });
      /** @type {string} */
      let text;
      try {
        text = write();
      } catch (cause) {
        throw ownError("invalid_request", String(cause), cause);
      }
      const wait = createTimer(clock);
      /** @type {Entry["settle"]} */
      const settle = (error, value) => {
        pending.delete(id);
        if (error || !isStream) routes.delete(id);
        onReply?.(value);
        signal?.removeEventListener("abort", onSignal);
        wait.clear();
        if (error) reject(error);
        else resolve(/** @type {T} */ (value));
      };
      /** Ends it for want of an answer. After a standstill it waits as long again, as the runtime does. @param {number} ms */
      const expire = (ms) => {
        const due = clock.now() + ms;
        const end = () =>
          abort(ownError(isRepeatable(command) ? "timed_out" : "outcome_unknown", "no answer within the deadline"));
        wait.set(() => (clock.now() < due + LATE_MS ? end() : wait.set(end, ms)), ms);
      };
      const onSignal = () => abort(ownError("cancelled", "", signal?.reason));
      /** @param {MainstayError} error */
      const abort = (error) => {
        settle(error);
        if (!isUp()) return;
        if (onAbort) onAbort(id);
        else if (command.type === "request" || command.type === "connection")
          tell({ type: "cancel", request: id });
      };
      const send = () => {
        if (!pending.has(id)) return;
        wait.clear();
        if (onPush) routes.set(id, onPush);
        link?.send(waited() ? write() : text);
        const limit = /** @type {number} */ (left("deadline_ms")) + LATE_MS;
        if (limit > LATE_MS && limit < TIMER_MAX_MS) expire(limit);
        onSent?.(id);
      };
      signal?.addEventListener("abort", onSignal);
      pending.set(id, { command, send, settle });
      if (isUp()) send();
      else if (waitMs < TIMER_MAX_MS) {
        wait.set(() => settle(ownError("disconnected", `no session within ${waitMs} ms`)), waitMs);
      }
    });
  }

  /** Ends the session. Every pending promise rejects. @param {MainstayError} [error] */
  function close(error = closedError()) {
    if (state.state === "closed") return;
    lose(error);
    for (const { settle } of [...pending.values()]) settle(error);
    setState("closed", { nextAttemptAt: null, error: transport ? null : error });
  }

  return {
    isUp,
    start: dial,
    isClosed: () => state.state === "closed",
    ask,
    tell,
    close,
    /**
     * Takes a transport if there was none, and opens a link. Returns whether it did.
     * @param {() => Transport | null} choose
     */
    adopt(choose) {
      if (transport) return false;
      transport = choose();
      setState("connecting", { error: null });
      dial();
      return true;
    },
    /** Opens a link now, unless one is open or being opened. An open one that was silent is checked. */
    retryNow() {
      if (state.state === "closed") return;
      if (isUp()) silence() >= LATE_MS && probe();
      else if (!link && transport) dial();
    },
    /** Tells that the state below is live: the snapshot has come. */
    setLive() {
      setState("open", { error: null });
    },
    /** Closes the link until `retryNow`, as for a page that goes into the back/forward cache. */
    freeze() {
      if (state.state === "closed") return;
      lose(ownError("disconnected"));
      setState("waiting", { nextAttemptAt: null });
    },
    /**
     * Passes further pushes about a command to `onPush`, or to nothing.
     * @param {number} id
     * @param {(push: Push) => void} [onPush]
     */
    route(id, onPush) {
      if (onPush && isUp()) routes.set(id, onPush);
      else routes.delete(id);
    },
  };
}
