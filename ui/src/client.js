import { fromBase64, toBase64 } from "./bytes.js";
import { isHidden, pageClock } from "./clock.js";
import { MainstayError, ownError } from "./errors.js";
import { bridgeFetch, encodeBody } from "./fetch.js";
import { isLoss, Session } from "./session.js";
import { createStore, fromStatus } from "./store.js";
import { AgentStreams, EventStream, FileStream, FrameStream, LogStreams } from "./streams.js";
import { chooseTransport } from "./transports/choose.js";

/**
 * @typedef {import("../protocol.d.ts").AgentDetails} AgentDetails
 * @typedef {import("../protocol.d.ts").AgentUpdate} AgentUpdate
 * @typedef {import("../protocol.d.ts").BridgeCommand} BridgeCommand
 * @typedef {import("../protocol.d.ts").ConnectionReport} ConnectionReport
 * @typedef {import("../protocol.d.ts").Cursor} Cursor
 * @typedef {import("../protocol.d.ts").EventKind} EventKind
 * @typedef {import("../protocol.d.ts").HelloReport} HelloReport
 * @typedef {import("../protocol.d.ts").Json} Json
 * @typedef {import("../protocol.d.ts").LogLine} LogLine
 * @typedef {import("../protocol.d.ts").OwnedBackendReport} OwnedBackendReport
 * @typedef {import("../protocol.d.ts").PendingRequest} PendingRequest
 * @typedef {import("../protocol.d.ts").Priority} Priority
 * @typedef {import("../protocol.d.ts").ReconnectReport} ReconnectReport
 * @typedef {import("../protocol.d.ts").ResponseReport} ResponseReport
 * @typedef {import("../protocol.d.ts").ServerMessage} ServerMessage
 * @typedef {import("../protocol.d.ts").StatusReport} StatusReport
 * @typedef {import("../protocol.d.ts").TreeNode} TreeNode
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./clock.js").Unsubscribe} Unsubscribe
 * @typedef {import("./session.js").Push} Push
 * @typedef {import("./session.js").SessionState} SessionState
 * @typedef {import("./session.js").Transport} Transport
 * @typedef {import("./store.js").Store} Store
 * @typedef {import("./streams.js").AgentItem} AgentItem
 * @typedef {import("./streams.js").EventBatch} EventBatch
 * @typedef {import("./streams.js").FileItem} FileItem
 * @typedef {import("./streams.js").Frame} FrameItem
 * @typedef {import("./streams.js").LogItem} LogItem
 */
/**
 * @typedef {object} ConnectOptions
 * @property {string} [url] the address of the bridge, `ws://…/bridge`
 * @property {string} [token]
 * @property {Transport} [transport]
 * @property {Transport} [mock] a scripted runtime of `mainstay-ui/mock`
 * @property {boolean} [hideToken] takes the token out of the page's address
 * @property {string} [id] the slot of the page; `default` if absent
 * @property {Clock} [clock]
 * @property {() => number} [random]
 */
/** @typedef {{ sent: number, sentTotal?: number, received: number, receivedTotal?: number }} RequestProgress */
/**
 * @typedef {object} SendOptions
 * @property {Priority} [priority]
 * @property {number} [timeoutMs] the longest silence within one attempt
 * @property {number} [waitTimeoutMs] the longest wait, for a session and in the queue; a minute if absent
 * @property {number} [deadlineMs] the longest time in all
 * @property {number} [retries]
 * @property {number} [cacheMs] the highest age of a cached response
 * @property {string} [idempotencyKey]
 * @property {boolean} [shared]
 * @property {boolean} [followRedirectedWrites]
 * @property {(progress: RequestProgress) => void} [onProgress]
 * @property {(requestId: number) => void} [onAccepted] called with the runtime's number of the request
 */
/** @typedef {SendOptions & { body?: unknown, headers?: Record<string, string>, signal?: AbortSignal }} RequestOptions */
/**
 * @typedef {object} BridgeResponse
 * @property {number} status
 * @property {Record<string, string>} headers
 * @property {Json | Uint8Array} body JSON if it is JSON, else text, else bytes
 * @property {number} ms
 * @property {boolean} cached
 * @property {number} attempts
 * @property {number} requestId
 */
/**
 * @typedef {object} MessageOptions
 * @property {AbortSignal} [signal]
 * @property {(update: AgentUpdate) => void} [onUpdate] called with each update about the message
 * @property {(messageId: number) => void} [onAccepted]
 * @property {boolean} [mayRepeat]
 * @property {boolean} [detached] the message goes on without this page, and its answer survives a lost session
 * @property {number} [waitTimeoutMs]
 * @property {number} [timeoutMs]
 * @property {number} [deadlineMs]
 */
/** @typedef {{ messageId: number, answer: Json }} MessageReply */

const RELEASE_MS = 1000;
const REFRESH_MS = 250;
const POLL_MS = 5000;
const WAIT_MS = 60_000;
const SKEW_MIN_MS = 1000;

/** @returns {Map<string, Client>} */
function slots() {
  const page = /** @type {Record<symbol, Map<string, Client> | undefined>} */ (/** @type {unknown} */ (globalThis));
  return (page[Symbol.for("mainstay-ui")] ??= new Map());
}

/**
 * Returns the client of the page and counts the use, or makes it. Call `release` when it is not needed any more.
 * @param {ConnectOptions} [options]
 * @returns {Client}
 */
export function connect(options = {}) {
  const id = options.id ?? "default";
  const client = slots().get(id) ?? new Client(id, options);
  slots().set(id, client);
  client.retain();
  return client;
}

/**
 * Returns the client of the page if there is one. Does not count as a use.
 * @param {string} [id]
 * @returns {Client | null}
 */
export function findClient(id = "default") {
  return slots().get(id) ?? null;
}

/** @param {SendOptions} options */
function toWire(options) {
  const { priority, timeoutMs, waitTimeoutMs, deadlineMs, retries, cacheMs, idempotencyKey, shared } = options;
  return {
    priority,
    timeout_ms: timeoutMs,
    wait_timeout_ms: waitTimeoutMs,
    deadline_ms: deadlineMs,
    retries,
    cache_ms: cacheMs,
    idempotency_key: idempotencyKey,
    shared,
    follow_redirected_writes: options.followRedirectedWrites,
    progress: options.onProgress && true,
  };
}

/**
 * Returns the longest wait for a session.
 * @param {{ waitTimeoutMs?: number, deadlineMs?: number }} options
 */
function longestWait({ waitTimeoutMs = WAIT_MS, deadlineMs }) {
  return Math.min(waitTimeoutMs, deadlineMs || Infinity);
}

/**
 * Makes the handler of a request's pushes.
 * @param {SendOptions} options
 * @returns {(push: Push) => void}
 */
function pushHandler({ onAccepted, onProgress }) {
  return ({ accepted, progress }) => {
    if (accepted?.request_id != null) onAccepted?.(accepted.request_id);
    if (!progress) return;
    const { sent, sent_total: sentTotal, received, received_total: receivedTotal } = progress;
    onProgress?.({ sent, sentTotal, received, receivedTotal });
  };
}

/** A session with a runtime, its store, and its streams. `connect` makes it. */
export class Client {
  /** @type {Store} */ store;
  closed = false;
  #references = 0;
  /** @type {unknown} */ #releaseTimer;
  /** @type {unknown} */ #refreshTimer;
  /** @type {unknown} */ #pollTimer;
  #refreshedAt = -Infinity;
  #isRefreshing = false;
  #skew = 0;
  /** @type {Set<(error: unknown) => void>} */ #closers = new Set();
  #store;
  #session;
  #events;
  #agents;
  #frames;
  #files;
  #logs;
  #clock;
  #id;

  /**
   * @param {string} id
   * @param {ConnectOptions} options
   */
  constructor(id, options) {
    const { clock = pageClock, random = Math.random } = options;
    this.#id = id;
    this.#clock = clock;
    this.#store = createStore(clock);
    this.store = this.#store;
    this.#session = new Session(chooseTransport(options), {
      clock,
      random,
      onState: (session) => this.#store.set({ session, isLive: session.state === "open" }),
      onOpen: () => this.#events.open(),
      onLost: () => this.#stopRefreshing(),
      onMessage: (message) => this.#receive(message),
    });
    this.#events = new EventStream(this.#session, clock);
    this.#agents = new AgentStreams(this.#session);
    this.#frames = new FrameStream(this.#session);
    this.#files = new FileStream(this.#session);
    this.#logs = new LogStreams(this.#session, clock);
    this.#watchPage(true);
    this.#session.retryNow();
  }

  // === life ===

  /** Counts one more use. `connect` does it. */
  retain() {
    this.#references++;
    this.#clear(this.#releaseTimer);
  }

  /** Gives one use back. The session closes a second after the last. */
  release() {
    this.#references = Math.max(0, this.#references - 1);
    if (this.#references || this.closed) return;
    this.#clear(this.#releaseTimer);
    this.#releaseTimer = this.#clock.setTimeout(() => this.close(), RELEASE_MS);
  }

  /** Ends the session at once. Every promise rejects, and no listener is called any more. */
  close() {
    if (this.closed) return;
    this.closed = true;
    if (slots().get(this.#id) === this) slots().delete(this.#id);
    this.#clear(this.#releaseTimer);
    this.#watchPage(false);
    this.#stopRefreshing();
    for (const stream of [this.#events, this.#agents, this.#frames, this.#files, this.#logs]) stream.close();
    this.#session.close();
    for (const reject of this.#closers) reject(ownError("cancelled", "the client was closed"));
    this.#store.close();
  }

  /** Tries to open the session now, in every state. */
  retryNow() {
    this.#session.retryNow();
  }

  // === commands ===

  /**
   * Sends a command. The promise always settles.
   * @param {BridgeCommand} command
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<unknown>}
   */
  command(command, { signal } = {}) {
    return this.#session.command(command, { signal });
  }

  /**
   * @template T
   * @param {BridgeCommand} command
   * @returns {Promise<T>}
   */
  #ask(command) {
    return /** @type {Promise<T>} */ (this.#session.command(command));
  }

  /**
   * Gives a command after which the state is another one.
   * @template T
   * @param {BridgeCommand} command
   * @returns {Promise<T>}
   */
  #change(command) {
    const done = /** @type {Promise<T>} */ (this.#ask(command));
    done.then(() => this.#refresh(), () => {});
    return done;
  }

  /** Returns the runtime's version and abilities. @returns {Promise<HelloReport>} */
  hello() {
    return this.#ask({ type: "hello" });
  }

  /**
   * Sends a request through the runtime's queue.
   * @param {string} method
   * @param {string} path
   * @param {RequestOptions} [options]
   * @returns {Promise<BridgeResponse>}
   */
  async request(method, path, options = {}) {
    const { body, headers, signal } = options;
    const encoded = await encodeBody(body, headers);
    const reply = await this.#session.command(
      { type: "request", method: method.toUpperCase(), path, ...toWire(options), ...encoded },
      { signal, waitMs: longestWait(options), onPush: pushHandler(options) },
    );
    const { base64, body: json, request_id: requestId, ...response } = /** @type {ResponseReport} */ (reply);
    return { ...response, body: base64 == null ? (json ?? null) : fromBase64(base64), requestId };
  }

  /**
   * Sends a request as `fetch` does: streams in both directions, and statuses from 400 resolve.
   * @param {string | URL | Request} input
   * @param {RequestInit & SendOptions} [init]
   * @returns {Promise<Response>}
   */
  fetch(input, init = {}) {
    return bridgeFetch(this.#session, input, init, {
      wire: toWire(init),
      waitMs: longestWait(init),
      onPush: pushHandler(init),
    });
  }

  /**
   * Sends a frame to the backend. Rejects unless it was sent.
   * @param {string | Uint8Array} frame
   * @param {{ waitTimeoutMs?: number, signal?: AbortSignal }} [options]
   * @returns {Promise<{ outcome: "sent" }>}
   */
  sendFrame(frame, { waitTimeoutMs, signal } = {}) {
    const content = typeof frame === "string" ? { text: frame } : { base64: toBase64(frame) };
    const sent = this.#session.command(
      { type: "connection", action: "send", ...content, wait_timeout_ms: waitTimeoutMs },
      { signal, waitMs: longestWait({ waitTimeoutMs }) },
    );
    return /** @type {Promise<{ outcome: "sent" }>} */ (sent);
  }

  connection = {
    /** Opens a new socket to the backend now. @returns {Promise<ReconnectReport>} */
    reconnect: () => this.#change({ type: "connection", action: "reconnect" }),
    /** Closes the socket, and keeps it closed. @returns {Promise<ConnectionReport>} */
    disconnect: () => this.#change({ type: "connection", action: "disconnect" }),
    /** @returns {Promise<ConnectionReport>} */
    show: () => this.#ask({ type: "connection", action: "show" }),
  };

  backend = {
    /** @returns {Promise<OwnedBackendReport>} */
    show: () => this.#ask({ type: "backend", action: "show" }),
    /** @returns {Promise<OwnedBackendReport>} */
    start: () => this.#change({ type: "backend", action: "start" }),
    /** @returns {Promise<OwnedBackendReport>} */
    stop: () => this.#change({ type: "backend", action: "stop" }),
    /** @returns {Promise<OwnedBackendReport>} */
    restart: () => this.#change({ type: "backend", action: "restart" }),
    /** @returns {Promise<OwnedBackendReport>} */
    reset: () => this.#change({ type: "backend", action: "reset" }),
  };

  requests = {
    /** Lists the requests of all clients that have not ended. @returns {Promise<PendingRequest[]>} */
    list: () => this.#ask({ type: "requests", action: "show" }),
    /**
     * Cancels a request. Returns false if it had ended.
     * @param {number} requestId
     * @returns {Promise<boolean>}
     */
    cancel: async (requestId) => {
      const reply = await this.#change({ type: "requests", action: "cancel", request_id: requestId });
      return /** @type {{ cancelled: boolean }} */ (reply).cancelled;
    },
    /**
     * Moves a waiting request. Returns false if it does not wait.
     * @param {number} requestId
     * @param {Priority} priority
     * @returns {Promise<boolean>}
     */
    setPriority: async (requestId, priority) => {
      const reply = await this.#change({ type: "requests", action: "prioritize", request_id: requestId, priority });
      return /** @type {{ prioritized: boolean }} */ (reply).prioritized;
    },
  };

  cache = {
    /**
     * Returns a value. A miss is not a value of null.
     * @param {string} key
     * @returns {Promise<{ hit: true, value: Json | Uint8Array } | { hit: false }>}
     */
    get: async (key) => {
      const reply = await this.#ask({ type: "cache", action: "get", key });
      const { hit, value, base64 } = /** @type {{ hit: boolean, value?: Json, base64?: string }} */ (reply);
      if (!hit) return { hit: false };
      return { hit: true, value: base64 == null ? (value ?? null) : fromBase64(base64) };
    },
    /**
     * @param {string} key
     * @param {unknown} value
     * @param {{ ttlMs?: number, staleMs?: number }} [options]
     * @returns {Promise<void>}
     */
    put: async (key, value, { ttlMs, staleMs } = {}) => {
      await this.#ask({ type: "cache", action: "put", key, value, ttl_ms: ttlMs, stale_ms: staleMs });
    },
    /**
     * Drops entries. Returns their number.
     * @param {{ key: string } | { prefix: string } | { glob: string } | { all: true }} selection
     * @returns {Promise<number>}
     */
    invalidate: async (selection) => {
      const [by, pattern] = Object.entries(selection)[0] ?? [];
      const command = { type: "cache", action: "invalidate", by, ...(by !== "all" && { pattern }) };
      const reply = await this.#change(/** @type {BridgeCommand} */ (command));
      return /** @type {{ entries: number }} */ (reply).entries;
    },
    /**
     * Returns a file of a watched folder, through the cache.
     * @param {string} path
     * @returns {Promise<string | Uint8Array>}
     */
    file: async (path) => {
      const reply = await this.#ask({ type: "cache", action: "file", path });
      const { text, base64 } = /** @type {{ text?: string, base64?: string }} */ (reply);
      return base64 == null ? (text ?? "") : fromBase64(base64);
    },
    /** @returns {Promise<StatusReport["cache"]>} */
    stats: () => this.#ask({ type: "cache", action: "show" }),
  };

  logs = {
    /**
     * Reads the last lines of a log: `backend`, or an agent's id.
     * @param {string} id
     * @param {{ lines?: number, sinceMs?: number }} [options]
     * @returns {Promise<LogLine[]>}
     */
    read: async (id, { lines, sinceMs } = {}) => {
      const reply = await this.#ask({ type: "logs", action: "read", log: id, lines, since_ms: sinceMs });
      return /** @type {{ lines: LogLine[] }} */ (reply).lines;
    },
  };

  /**
   * Returns the commands about one agent.
   * @param {string} agent
   */
  agent(agent) {
    /** @param {"show" | "restart" | "stop" | "start" | "reset"} action @returns {() => Promise<AgentDetails>} */
    const does = (action) => () => this.#change({ type: "agent", agent, action });
    return {
      /** @returns {Promise<AgentDetails>} */
      show: () => this.#ask({ type: "agent", agent, action: "show" }),
      restart: does("restart"),
      stop: does("stop"),
      start: does("start"),
      reset: does("reset"),
      /** @param {string} [method] @returns {Promise<AgentDetails>} */
      login: (method) => this.#change({ type: "agent", agent, action: "login", method }),
      /**
       * Answers a question of the agent.
       * @param {string} ask
       * @param {unknown} body
       * @returns {Promise<void>}
       */
      answer: async (ask, body) => {
        await this.#change({ type: "agent", agent, action: "answer", ask, body });
      },
      /**
       * Cancels a message. Returns false if it had ended.
       * @param {number} messageId
       * @returns {Promise<boolean>}
       */
      cancel: async (messageId) => {
        const reply = await this.#ask({ type: "agent", agent, action: "cancel", message_id: messageId });
        return /** @type {{ cancelled: boolean }} */ (reply).cancelled;
      },
      /**
       * Calls the listener with each update, from now on or after a number.
       * @param {(item: AgentItem) => void} listener
       * @param {{ after?: number }} [options]
       * @returns {Unsubscribe}
       */
      listen: (listener, { after } = {}) => this.#agents.listen(agent, listener, after),
      /**
       * Sends a message, and waits for the answer.
       * @param {unknown} body
       * @param {MessageOptions} [options]
       * @returns {Promise<MessageReply>}
       */
      send: (body, options = {}) => this.#sendMessage(agent, body, options),
    };
  }

  /**
   * @param {string} agent
   * @param {unknown} body
   * @param {MessageOptions} options
   * @returns {Promise<MessageReply>}
   */
  async #sendMessage(agent, body, options) {
    const { signal, mayRepeat, detached, waitTimeoutMs, timeoutMs, deadlineMs } = options;
    /** @type {number | null} */
    let messageId = null;
    /** @type {AgentUpdate[]} */
    const early = [];
    /** @type {(outcome: { body: Json } | null) => void} */
    let end = () => {};
    /** @type {Promise<{ body: Json } | null>} */
    const ended = new Promise((resolve) => (end = resolve));
    /** @param {AgentUpdate} update */
    const pass = (update) => {
      if (update.message_id !== messageId) return;
      options.onUpdate?.(update);
      if (update.kind === "ended") end(update);
    };
    /** @param {AgentItem} item */
    const take = (item) => {
      if (!("update" in item)) end(null);
      else if (messageId == null) early.push(item.update);
      else pass(item.update);
    };
    const cancel = (/** @type {number} */ id) => {
      this.#session.tell({ type: "agent", agent, action: "cancel", message_id: id });
    };
    const stop = options.onUpdate || detached ? this.#agents.listen(agent, take, detached ? 0 : undefined) : null;
    try {
      const reply = await this.#session.command(
        {
          type: "agent",
          agent,
          action: "send",
          body,
          may_repeat: mayRepeat,
          detached,
          wait_timeout_ms: waitTimeoutMs,
          timeout_ms: timeoutMs,
          deadline_ms: deadlineMs,
        },
        {
          signal,
          waitMs: longestWait(options),
          onPush: ({ accepted }) => {
            if (accepted?.message_id == null) return;
            messageId = accepted.message_id;
            options.onAccepted?.(messageId);
            early.splice(0).forEach(pass);
          },
          onAbort: (id) => {
            if (messageId != null) cancel(messageId);
            else this.#session.route(id, ({ accepted }) => accepted?.message_id != null && cancel(accepted.message_id));
          },
        },
      );
      const { message_id: id, answer } = /** @type {{ message_id: number, answer: Json }} */ (reply);
      return { messageId: id, answer };
    } catch (error) {
      const id = /** @type {number | null} */ (messageId);
      if (!detached || id == null || !isLoss(error) || this.closed) throw error;
      return { messageId: id, answer: await this.#awaitOutcome(ended, error, signal, () => cancel(id)) };
    } finally {
      stop?.();
    }
  }

  /**
   * Waits for the outcome of a message whose session broke.
   * @param {Promise<{ body: Json } | null>} ended
   * @param {unknown} loss
   * @param {AbortSignal | undefined} signal
   * @param {() => void} cancel
   * @returns {Promise<Json>}
   */
  async #awaitOutcome(ended, loss, signal, cancel) {
    /** @type {(error: unknown) => void} */
    let fail = () => {};
    const failed = new Promise((_, reject) => (fail = reject));
    const onAbort = () => {
      cancel();
      fail(ownError("cancelled", undefined, { cause: signal?.reason }));
    };
    this.#closers.add(fail);
    signal?.addEventListener("abort", onAbort);
    const raced = Promise.race([ended, failed]).finally(() => {
      this.#closers.delete(fail);
      signal?.removeEventListener("abort", onAbort);
    });
    const outcome = /** @type {{ body: Json } | null} */ (await raced);
    const body = /** @type {{ answer?: Json, error?: import("../protocol.d.ts").ErrorObject } | undefined} */ (outcome?.body);
    if (body?.error) throw new MainstayError(body.error);
    if (!body) throw loss;
    return body.answer ?? null;
  }

  // === subscriptions ===

  /**
   * Calls the listener with events, in order, each once, at most once a frame.
   * @param {(batch: EventBatch) => void} listener
   * @param {{ kinds?: readonly EventKind[], after?: Cursor }} [options]
   * @returns {Unsubscribe}
   */
  onEvents(listener, options = {}) {
    return this.#events.listen(listener, options);
  }

  /**
   * Calls the listener with each frame of the backend, and with gaps.
   * @param {(frame: FrameItem) => void} listener
   * @param {{ types?: readonly string[] }} [options] patterns for the `type` of frames, as in `chat.*`
   * @returns {Unsubscribe}
   */
  onFrames(listener, { types = [] } = {}) {
    return this.#frames.listen(listener, types);
  }

  /**
   * Calls the listener with each change in the watched folders.
   * @param {(item: FileItem) => void} listener
   * @returns {Unsubscribe}
   */
  onFiles(listener) {
    return this.#files.listen(listener);
  }

  /**
   * Calls the listener with the last lines of a log, and with each further one.
   * @param {string} id `backend`, or an agent's id
   * @param {(item: LogItem) => void} listener
   * @param {{ lines?: number, sinceMs?: number }} [options]
   * @returns {Unsubscribe}
   */
  onLog(id, listener, options = {}) {
    return this.#logs.listen(id, listener, options);
  }

  // === messages of the runtime ===

  /** @param {ServerMessage} message */
  #receive(message) {
    if ("snapshot" in message) {
      const { status, tree } = message.snapshot;
      this.#take(status, tree);
      const isFirst = !this.#store.getState().isLive;
      const isOther = this.#events.onSnapshot(status.runtime, message.cursor);
      if (isFirst) this.#becomeLive(isOther);
    } else if ("events" in message) {
      this.#events.onEvents(message.events);
      this.#refreshSoon();
    } else if ("agent" in message) {
      this.#agents.onPush(message);
    } else if ("log" in message) {
      this.#logs.onPush(message);
    } else if ("frame" in message) {
      this.#frames.onFrame(message.frame);
    } else if ("file" in message) {
      this.#files.onPush(message.file);
    } else if ("lagged" in message) {
      this.#events.onLagged(message.lagged, message.cursor);
      this.#refreshSoon();
    }
  }

  /** @param {boolean} isOther */
  #becomeLive(isOther) {
    this.#session.setLive();
    this.#agents.open(isOther);
    this.#frames.open();
    this.#files.open(this.#store.getState().cache?.folders.map((folder) => folder.path) ?? []);
    this.#logs.open();
    this.#poll();
    this.hello().then(({ now }) => this.#setSkew(now ? Date.parse(now) : NaN), () => {});
  }

  /** @param {number} runtimeNow */
  #setSkew(runtimeNow) {
    const skew = runtimeNow - this.#clock.now();
    if (!Number.isNaN(skew)) this.#skew = Math.abs(skew) < SKEW_MIN_MS ? 0 : skew;
  }

  /**
   * @param {StatusReport} status
   * @param {TreeNode} tree
   */
  #take(status, tree) {
    const { next_attempt_at: at, next_attempt_in_ms: delay } = status.connection;
    if (at && delay != null) this.#setSkew(Date.parse(at) - delay);
    const parts = fromStatus(this.#store.getState(), status, this.#clock.now(), this.#skew);
    this.#store.set({ ...parts, tree });
    this.#refreshedAt = this.#clock.now();
  }

  #refreshSoon() {
    if (this.#refreshTimer != null) return;
    const wait = Math.max(0, this.#refreshedAt + REFRESH_MS - this.#clock.now());
    this.#refreshTimer = this.#clock.setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    this.#clear(this.#refreshTimer);
    this.#refreshTimer = null;
    if (this.#isRefreshing || !this.#store.getState().isLive) return;
    this.#isRefreshing = true;
    this.#refreshedAt = this.#clock.now();
    try {
      const [status, tree] = await Promise.all([this.#ask({ type: "status" }), this.#ask({ type: "tree" })]);
      this.#take(/** @type {StatusReport} */ (status), /** @type {TreeNode} */ (tree));
    } catch {
      // The session broke, or the runtime stops: the next snapshot has the state.
    } finally {
      this.#isRefreshing = false;
    }
  }

  #poll() {
    this.#clear(this.#pollTimer);
    this.#pollTimer = this.#clock.setTimeout(() => {
      if (!isHidden()) this.#refresh();
      this.#poll();
    }, POLL_MS);
  }

  #stopRefreshing() {
    this.#clear(this.#refreshTimer);
    this.#clear(this.#pollTimer);
    this.#refreshTimer = null;
  }

  // === the page ===

  #onPage = (/** @type {Event} */ event) => {
    if (event.type === "pagehide") {
      if (/** @type {PageTransitionEvent} */ (event).persisted) this.#session.suspend();
    } else if (!isHidden()) {
      this.#session.retryNow();
      if (event.type === "visibilitychange") this.#refresh();
    }
  };

  /** @param {boolean} isOn */
  #watchPage(isOn) {
    const change = isOn ? "addEventListener" : "removeEventListener";
    for (const type of ["online", "pageshow", "pagehide"]) globalThis[change]?.(type, this.#onPage);
    globalThis.document?.[change]("visibilitychange", this.#onPage);
  }

  /** @param {unknown} timer */
  #clear(timer) {
    this.#clock.clearTimeout(/** @type {never} */ (timer));
  }
}
