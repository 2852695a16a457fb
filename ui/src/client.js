import { fromBase64 } from "./bytes.js";
import { createTimer, isHidden, pageClock } from "./clock.js";
import { handleError, ownError } from "./errors.js";
import { call } from "./listeners.js";
import { fromWire, toWire } from "./names.js";
import { createSession, longestWait } from "./session.js";
import { isJson } from "./share.js";
import { createStore, fromStatus } from "./store.js";
import { createAgents, createEvents, createFiles } from "./streams.js";
import { chooseTransport } from "./transports/choose.js";

/**
 * @typedef {import("../protocol.d.ts").AgentDetails} AgentDetails
 * @typedef {import("../protocol.d.ts").AgentUpdate} AgentUpdate
 * @typedef {import("../protocol.d.ts").BridgeCommand} BridgeCommand
 * @typedef {import("../protocol.d.ts").ConnectionReport} ConnectionReport
 * @typedef {import("../protocol.d.ts").Cursor} Cursor
 * @typedef {import("../protocol.d.ts").EventKind} EventKind
 * @typedef {import("../protocol.d.ts").Hello} Hello
 * @typedef {import("../protocol.d.ts").Json} Json
 * @typedef {import("../protocol.d.ts").LogLine} LogLine
 * @typedef {import("../protocol.d.ts").OwnedBackendReport} OwnedBackendReport
 * @typedef {import("../protocol.d.ts").PendingRequest} PendingRequest
 * @typedef {import("../protocol.d.ts").Priority} Priority
 * @typedef {import("../protocol.d.ts").ReconnectReply} ReconnectReply
 * @typedef {import("../protocol.d.ts").ResponseReply} ResponseReply
 * @typedef {import("../protocol.d.ts").ServerMessage} ServerMessage
 * @typedef {import("../protocol.d.ts").StatusReport} StatusReport
 * @typedef {import("../protocol.d.ts").TreeNode} TreeNode
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./clock.js").Unsubscribe} Unsubscribe
 * @typedef {import("./errors.js").MainstayError} MainstayError
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
/**
 * @typedef {object} RequestProgress
 * @property {number} attempt
 * @property {number} sent
 * @property {number} [sentTotal]
 * @property {number} received
 * @property {number} [receivedTotal]
 */
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
/**
 * @typedef {object} ContentOptions
 * @property {unknown} [body] JSON, or bytes
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 * @typedef {SendOptions & ContentOptions} RequestOptions
 */
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
 * @property {boolean} [detached] the message goes on without this page, and the answer with another session
 * @property {number} [waitTimeoutMs]
 * @property {number} [timeoutMs]
 * @property {number} [deadlineMs]
 */
/** @typedef {{ messageId: number, answer: Json }} MessageReply */

/** @typedef {ReturnType<typeof createClient>} Client */

const RELEASE_MS = 1000;
const REFRESH_MS = 250;
const POLL_MS = 5000;
const SKEW_MIN_MS = 1000;
/** The options that name a runtime. */
const ADDRESS = /** @type {const} */ (["url", "token", "mock", "transport"]);
const REQUEST_OPTIONS =
  "priority timeoutMs waitTimeoutMs deadlineMs retries cacheMs idempotencyKey shared followRedirectedWrites";

/** @returns {Map<string, Client>} */
function slots() {
  const page = /** @type {Record<symbol, Map<string, Client> | undefined>} */ (
    /** @type {unknown} */ (globalThis)
  );
  return (page[Symbol.for("mainstay-ui")] ??= new Map());
}

/**
 * Returns the client of the page, also one that was closed. Does not count as a use.
 * @param {string} [id]
 * @returns {Client | null}
 */
export function currentClient(id = "default") {
  return slots().get(id) ?? null;
}

/**
 * Returns the client of the page as `currentClient` does, or makes it.
 * @returns {Client}
 */
export function pageClient() {
  return currentClient() ?? create({});
}

/**
 * Returns the client of the page and counts the use, or makes it. Call `release` when it is not needed
 * any more. Throws `invalid_config` if the client is in use, and is one of another runtime.
 * @param {ConnectOptions} [options]
 * @returns {Client}
 */
export function connect(options = {}) {
  currentClient(options.id)?.expect(options);
  const client = findClient(options.id) ?? create(options);
  client.retain();
  return client;
}

/**
 * Returns the client of the page if there is one. Does not count as a use.
 * @param {string} [id]
 * @returns {Client | null}
 */
export function findClient(id) {
  const client = currentClient(id);
  return client?.closed ? null : client;
}

/** Makes the client of a slot, and hands the users of a closed one over. @param {ConnectOptions} options */
function create(options) {
  const { id = "default" } = options;
  const before = currentClient(id);
  const client = createClient(id, options);
  slots().set(id, client);
  before?.handOver();
  return client;
}

/**
 * Uses a client until the returned function is called. The page's client is counted meanwhile. If that is closed, the
 * use goes on with the next one.
 * @param {Client | null | undefined} given
 * @param {(client: Client) => Unsubscribe} use
 * @returns {Unsubscribe}
 */
export function hold(given, use) {
  if (given) return use(given);
  let isOver = false;
  /** @type {Unsubscribe | undefined} */
  let stop;
  let release = () => {};
  const end = () => {
    stop?.();
    release();
    stop = undefined;
  };
  const begin = () => {
    if (isOver) return;
    const client = pageClient();
    release = client.hold(() => (end(), begin));
    try {
      stop = use(client);
    } catch (error) {
      release();
      throw error;
    }
  };
  begin();
  return () => {
    isOver = true;
    end();
  };
}

/**
 * Returns what a command about a request takes from its options.
 * @param {SendOptions} options
 */
function sending(options) {
  const { onAccepted, onProgress } = options;
  return {
    wire: { ...toWire(options, REQUEST_OPTIONS), progress: onProgress && true },
    waitMs: longestWait(options),
    /** @param {Push} push */
    onPush: ({ accepted, progress }) => {
      if (accepted) call(onAccepted, /** @type {number} */ (accepted.request_id));
      if (progress) call(onProgress, fromWire(progress));
    },
  };
}

/**
 * Creates a client: a session with a runtime, its store, and its streams.
 * @param {string} slot
 * @param {ConnectOptions} options
 */
function createClient(slot, options) {
  const { clock = pageClock, random = Math.random } = options;
  const releaseTimer = createTimer(clock);
  const refreshTimer = createTimer(clock);
  const pollTimer = createTimer(clock);
  /** The waits for outcomes that end with the client. @type {Set<() => void>} */
  const waits = new Set();
  let references = 0;
  /** The uses that `release` does not give back, each with what it does when another client takes the slot. */
  const holds = /** @type {Set<{ onNext?: () => (() => void) }>} */ (new Set());
  let refreshedAt = -Infinity;
  let tookMs = 0;
  let isPlanned = false;
  let isRefreshing = false;
  let isStale = false;
  let skew = 0;

  const store = createStore(clock);
  const session = createSession(chooseTransport(options), {
    clock,
    random,
    onState: (session) => store.set({ session, isLive: session.state === "open" }),
    onOpen: () => events.open(),
    onLost: stopRefreshing,
    onMessage: receive,
  });
  const events = createEvents(session, clock);
  const agents = createAgents(session);
  const files = createFiles(session);
  /** @type {ReturnType<typeof import("./logs.js").createLogs> | null} */
  let logs = null;
  /** @type {ReturnType<typeof import("./frames.js").createFrames> | null} */
  let frames = null;
  /** The frames that came before their module. @type {import("../protocol.d.ts").FrameItem[]} */
  const early = [];
  let isEarly = false;
  const { ask } = session;
  /**
   * Loads a part of this package. What cannot be loaded is tried again once a session is open: its server may be away too.
   * @template T
   * @param {() => Promise<T>} load
   * @param {{ signal?: AbortSignal | null, waitTimeoutMs?: number, deadlineMs?: number }} [options]
   * @returns {Promise<T>}
   */
  async function part(load, options = {}, tries = 3) {
    try {
      return await load();
    } catch (error) {
      if (tries <= 1) throw handleError(error);
      await ask({ type: "hello" }, { signal: options.signal ?? undefined, waitMs: longestWait(options) });
      return part(load, options, tries - 1);
    }
  }

  /** @param {Parameters<typeof part>[1]} [options] */
  const loadFetch = (options) => part(() => import("./fetch.js"), options);
  const loadFrames = async () => {
    const { createFrames } = await part(() => import("./frames.js"));
    return (frames ??= createFrames(session, isEarly));
  };
  const loadLogs = async () => {
    const { createLogs } = await part(() => import("./logs.js"));
    return (logs ??= createLogs(session, clock));
  };

  // === the state ===

  /** @param {ServerMessage} message */
  function receive(message) {
    if ("snapshot" in message) {
      const { status, tree } = message.snapshot;
      take(status, tree);
      const isOther = events.onSnapshot(status.runtime, message.cursor);
      if (!store.getState().isLive) becomeLive(isOther, status.cache.folders);
    } else if ("agent" in message) agents.onPush(message);
    else if ("log" in message) logs?.onPush(message);
    else if ("frame" in message) frames ? frames.onFrame(message.frame) : early.push(message.frame);
    else if ("file" in message) files.onPush(message.file);
    else {
      if ("events" in message) events.onEvents(message.events);
      else if ("cursor" in message) events.onLagged(message.lagged, message.cursor);
      refreshSoon();
    }
  }

  /**
   * @param {boolean} isOther
   * @param {{ path: string }[]} folders
   */
  function becomeLive(isOther, folders) {
    session.setLive();
    agents.open(isOther);
    frames?.open();
    files.open(folders);
    logs?.open();
    poll();
    client.hello().then(
      ({ now = "" }) => {
        const ahead = Date.parse(now) - clock.now();
        skew = Math.abs(ahead) > SKEW_MIN_MS ? ahead : 0;
      },
      () => {},
    );
  }

  /**
   * @param {StatusReport} status
   * @param {TreeNode} tree
   */
  function take(status, tree) {
    refreshedAt = clock.now();
    store.set({ ...fromStatus(store.getState(), status, refreshedAt, skew), tree });
    if (store.getState().isLive) agents.onStatus(status.agents);
  }

  function refreshSoon() {
    // A reading that takes long is followed by a pause as long, so that a large runtime is not kept busy by it.
    const pause = Math.max(REFRESH_MS, tookMs);
    // The wall clock may have been set back since.
    const wait = Math.min(pause, refreshedAt + pause - clock.now());
    if (!isPlanned) refreshTimer.set(refresh, Math.max(0, wait));
    isPlanned = true;
  }

  async function refresh() {
    refreshTimer.clear();
    isPlanned = false;
    isStale = isRefreshing;
    if (isRefreshing || !store.getState().isLive) return;
    isRefreshing = true;
    const askedAt = performance.now();
    try {
      /** @type {[StatusReport, TreeNode]} */
      const [status, tree] = await Promise.all([ask({ type: "status" }), ask({ type: "tree" })]);
      take(status, tree);
      tookMs = performance.now() - askedAt;
    } catch {
      // The session broke, or the runtime stops: the next snapshot has the state.
    }
    isRefreshing = false;
    if (isStale) refreshSoon();
  }

  function poll() {
    pollTimer.set(() => {
      if (!isHidden()) refresh();
      poll();
    }, POLL_MS);
  }

  function stopRefreshing() {
    refreshTimer.clear();
    pollTimer.clear();
    isPlanned = false;
  }

  /**
   * Listens to a stream whose module is loaded with the first listener.
   * @template T
   * @param {() => Promise<T>} load
   * @param {(item: { error: MainstayError }) => void} listener
   * @param {(loaded: T) => Unsubscribe} listen
   * @returns {Unsubscribe}
   */
  function listenLater(load, listener, listen) {
    let isOver = false;
    let stop = () => {};
    load().then(
      (loaded) => {
        if (!isOver && !client.closed) stop = listen(loaded);
      },
      (error) => isOver || client.closed || call(listener, { error: handleError(error) }),
    );
    return () => {
      isOver = true;
      stop();
    };
  }

  /** @param {Event} event */
  function onPage(event) {
    if (event.type === "pagehide") {
      if (/** @type {PageTransitionEvent} */ (event).persisted) session.freeze();
    } else if (!isHidden()) {
      session.retryNow();
      if (event.type === "visibilitychange") refresh();
    }
  }

  /** @param {"addEventListener" | "removeEventListener"} change */
  function watchPage(change) {
    for (const type of ["online", "pageshow", "pagehide"]) globalThis[change]?.(type, onPage);
    globalThis.document?.[change]("visibilitychange", onPage);
  }

  function closeUnused() {
    if (references || holds.size || client.closed) return;
    releaseTimer.set(() => {
      client.close();
      if (currentClient(slot) === client) slots().delete(slot);
    }, RELEASE_MS);
  }

  // === commands ===

  /**
   * Gives a command after which the state is another one.
   * @template T
   * @param {BridgeCommand} command
   * @returns {Promise<T>}
   */
  async function change(command) {
    const reply = /** @type {T} */ (await ask(command));
    refresh();
    return reply;
  }

  /**
   * Gives a command of which one member of the reply counts.
   * @template T
   * @param {BridgeCommand} command
   * @param {string} name
   * @returns {Promise<T>}
   */
  async function pick(command, name) {
    return /** @type {Record<string, T>} */ (await change(command))[name];
  }

  /**
   * Returns a command of the cache, whose module is loaded with the first.
   * @template {keyof import("./cache.js").Cache} N
   * @param {N} name
   */
  const onCache = (name) =>
    /** @type {import("./cache.js").Cache[N]} */ (
      async (/** @type {unknown[]} */ ...args) => {
        const { createCache } = await part(() => import("./cache.js"));
        const act = /** @type {(...args: unknown[]) => unknown} */ (createCache({ ask, pick })[name]);
        return act(...args);
      }
    );

  /** @param {"start" | "stop" | "restart" | "reset"} action @returns {() => Promise<OwnedBackendReport>} */
  const onBackend = (action) => () => change({ type: "backend", action });

  const client = {
    /** The state of the page. @type {Store} */
    store,
    closed: false,

    /**
     * Checks that options name the runtime of this client. A client without an address takes theirs, and one
     * without users closes for another.
     * @param {ConnectOptions} other
     */
    expect(other) {
      if (client.closed || ADDRESS.every((name) => (other[name] ?? options[name]) === options[name])) return;
      const merged = { ...options, ...other };
      const wasClosed = session.isClosed();
      if (session.adopt(() => chooseTransport(merged))) {
        options = merged;
        // What was asked for in vain is asked for again.
        if (wasClosed) client.handOver();
        return;
      }
      if (references || holds.size) throw ownError("invalid_config", "another runtime needs another id");
      client.close();
    },
    /** Counts one more use. `connect` does it. */
    retain() {
      references++;
      releaseTimer.clear();
    },
    /** Gives one use of `connect` back. The session closes a second after the last. */
    release() {
      if (references) references--;
      closeUnused();
    },
    /**
     * Counts one more use. The returned function gives it back, once, and nothing else does. `onNext` is called
     * when another client takes the place of this one, which was closed, or when this one gets its address late. It
     * ends the use, and returns how to begin it again, once all others have ended.
     * @param {() => (() => void)} [onNext]
     * @returns {() => void}
     */
    hold(onNext) {
      const use = { onNext };
      holds.add(use);
      releaseTimer.clear();
      return () => {
        if (holds.delete(use)) closeUnused();
      };
    },
    /** Lets each use begin again, with the client that is now the page's. */
    handOver() {
      const begins = [...holds].map((use) => holds.has(use) && use.onNext?.());
      for (const begin of begins) if (begin) call(begin, null);
    },
    /** Ends the session at once. Every promise rejects, and after the last state no listener is called. */
    close() {
      if (client.closed) return;
      client.closed = true;
      releaseTimer.clear();
      watchPage("removeEventListener");
      for (const part of [events, agents, frames, files, logs]) part?.close();
      session.close();
      stopRefreshing();
      for (const end of waits) end();
      store.close();
    },
    /** Tries to open the session now, in every state. */
    retryNow: session.retryNow,

    /**
     * Sends a command. The promise always settles.
     * @type {<C extends BridgeCommand>(
     *   command: C,
     *   options?: { signal?: AbortSignal },
     * ) => Promise<import("../protocol.d.ts").ReplyOf<C>>}
     */
    command: ask,
    /** Returns the runtime's version and abilities. @returns {Promise<Hello>} */
    hello: () => ask({ type: "hello" }),
    /**
     * Returns at once whether everything has started, and else what is missing.
     * @returns {Promise<{ isReady: boolean, pending?: string }>}
     */
    ready: async () => fromWire(await ask({ type: "ready" })),
    /**
     * Sends a request through the runtime's queue.
     * @param {string} method
     * @param {string} path
     * @param {RequestOptions} [options]
     * @returns {Promise<BridgeResponse>}
     */
    async request(method, path, options = {}) {
      if (typeof path !== "string" || typeof method !== "string") return (await loadFetch()).refuse("request");
      const { wire, ...rest } = sending(options);
      const { body: given, headers, signal } = options;
      const isSimple = given === undefined || isJson(given);
      const content = isSimple
        ? { body: /** @type {Json} */ (given), headers }
        : await (await loadFetch(options)).encodeBody(given, headers);
      /** @type {ResponseReply} */
      const { base64, body, ...response } = await ask(
        { type: "request", method: method.toUpperCase(), path, ...wire, ...content },
        { signal, ...rest },
      );
      return { .../** @type {BridgeResponse} */ (fromWire(response)), body: base64 == null ? (body ?? null) : fromBase64(base64) };
    },
    /**
     * Sends a request as `fetch` does: streams in both directions, and statuses from 400 resolve, with the
     * error as their body. The response is neither cached nor shared.
     * @param {string | URL | Request} input
     * @param {RequestInit & Omit<SendOptions, "cacheMs" | "shared">} [init]
     * @returns {Promise<Response>}
     */
    fetch: async (input, init = {}) => (await loadFetch(init)).bridgeFetch(session, input, init, sending(init)),
    /**
     * Sends a frame to the backend. Rejects unless it was sent.
     * @param {string | Uint8Array} frame
     * @param {{ waitTimeoutMs?: number, signal?: AbortSignal }} [options]
     * @returns {Promise<{ outcome: "sent" }>}
     */
    async sendFrame(frame, options = {}) {
      const content = (await loadFetch(options)).encodeFrame(frame);
      return ask(
        { type: "connection", action: "send", ...content, wait_timeout_ms: options.waitTimeoutMs },
        { signal: options.signal, waitMs: longestWait(options) },
      );
    },

    connection: {
      /** Opens a new socket to the backend now. @returns {Promise<ReconnectReply>} */
      reconnect: () => change({ type: "connection", action: "reconnect" }),
      /** Closes the socket, and keeps it closed. @returns {Promise<ConnectionReport>} */
      disconnect: () => change({ type: "connection", action: "disconnect" }),
      /** @returns {Promise<ConnectionReport>} */
      show: () => ask({ type: "connection", action: "show" }),
    },
    credentials: {
      /** Reads the token again. Returns whether it is another one. @returns {Promise<boolean>} */
      reload: () => pick({ type: "credentials", action: "reload" }, "changed"),
    },
    backend: {
      /** @returns {Promise<OwnedBackendReport>} */
      show: () => ask({ type: "backend", action: "show" }),
      start: onBackend("start"),
      stop: onBackend("stop"),
      restart: onBackend("restart"),
      reset: onBackend("reset"),
    },
    requests: {
      /** Lists the requests of all clients that have not ended. @returns {Promise<PendingRequest[]>} */
      list: () => ask({ type: "requests", action: "show" }),
      /**
       * Cancels a request. Returns false if it had ended.
       * @param {number} request_id
       * @returns {Promise<boolean>}
       */
      cancel: (request_id) => pick({ type: "requests", action: "cancel", request_id }, "cancelled"),
      /**
       * Moves a waiting request. Returns false if it does not wait.
       * @param {number} request_id
       * @param {Priority} priority
       * @returns {Promise<boolean>}
       */
      setPriority: (request_id, priority) =>
        pick({ type: "requests", action: "prioritize", request_id, priority }, "prioritized"),
    },
    /** The cache's commands, as in `cache.js`. */
    cache: {
      get: onCache("get"),
      put: onCache("put"),
      invalidate: onCache("invalidate"),
      file: onCache("file"),
      search: onCache("search"),
      stats: onCache("stats"),
    },
    logs: {
      /** Lists the logs: `backend`, and the agents' ids. @returns {Promise<string[]>} */
      list: async () =>
        /** @type {import("../protocol.d.ts").LogIdsReply} */ (await ask({ type: "logs", action: "ids" })).ids,
      /**
       * Reads the last lines of a log: `backend`, or an agent's id.
       * @param {string} log
       * @param {{ lines?: number, sinceMs?: number }} [options]
       * @returns {Promise<LogLine[]>}
       */
      async read(log, options = {}) {
        const reply = await ask({ type: "logs", action: "read", log, ...toWire(options, "lines sinceMs") });
        return /** @type {{ lines: LogLine[] }} */ (reply).lines;
      },
    },

    /**
     * Returns the commands about one agent.
     * @param {string} agent
     */
    agent(agent) {
      const type = "agent";
      /** @param {"restart" | "stop" | "start" | "reset"} action @returns {() => Promise<AgentDetails>} */
      const does = (action) => () => change({ type, agent, action });
      return {
        /** @returns {Promise<AgentDetails>} */
        show: () => ask({ type, agent, action: "show" }),
        restart: does("restart"),
        stop: does("stop"),
        start: does("start"),
        reset: does("reset"),
        /**
         * Adds this agent to the runtime.
         * @param {{ [name: string]: Json }} [config] the keys of an `[[agent]]` block
         * @returns {Promise<AgentDetails>}
         */
        add: (config = {}) => change({ type, agent, action: "add", config }),
        /** Stops the agent, and removes it with its state. @returns {Promise<void>} */
        remove: () => change({ type, agent, action: "remove" }),
        /** @param {string} [method] @returns {Promise<AgentDetails>} */
        login: (method) => change({ type, agent, action: "login", method }),
        /**
         * Answers a question of the agent.
         * @param {string} question
         * @param {unknown} body
         * @returns {Promise<void>}
         */
        answer: (question, body) =>
          change({ type, agent, action: "answer", ask: question, body: /** @type {Json} */ (body) }),
        /**
         * Cancels a message. Returns false if it had ended.
         * @param {number} message_id
         * @returns {Promise<boolean>}
         */
        cancel: (message_id) => pick({ type, agent, action: "cancel", message_id }, "cancelled"),
        /**
         * Calls the listener with each update, from now on or after a number.
         * @param {(item: AgentItem) => void} listener
         * @param {{ after?: number }} [options]
         * @returns {Unsubscribe}
         */
        listen: (listener, { after } = {}) => agents.listen(agent, listener, after),
        /**
         * Sends a message, and waits for the answer.
         * @param {unknown} body
         * @param {MessageOptions} [options]
         * @returns {Promise<MessageReply>}
         */
        async send(body, options = {}) {
          const { sendMessage } = await part(() => import("./messages.js"), options);
          return sendMessage({ session, agents, waits, clock }, agent, body, options);
        },
      };
    },

    /**
     * Calls the listener with events, in order, each once, at most once a frame.
     * @param {(batch: EventBatch) => void} listener
     * @param {{ kinds?: readonly EventKind[], after?: Cursor }} [options]
     * @returns {Unsubscribe}
     */
    onEvents: (listener, options = {}) => events.listen(listener, options),
    /**
     * Calls the listener with each frame of the backend, and with gaps.
     * @param {(frame: FrameItem) => void} listener
     * @param {{ types?: readonly string[] }} [options] patterns for the `type` of frames, as in `chat.*`
     * @returns {Unsubscribe}
     */
    onFrames(listener, { types = [] } = {}) {
      const from = frames ? Infinity : early.length;
      // The frames from now on come, although the module that chooses among them is not there yet.
      if (!frames && !isEarly && session.isUp()) {
        isEarly = true;
        session.tell({ type: "connection", action: "listen", types: [] });
      }
      const stop = listenLater(loadFrames, listener, (loaded) => loaded.listen(listener, types, early.slice(from)));
      // Ends the subscription if each listener has left meanwhile.
      loadFrames().then(({ update }) => update(), () => {});
      return stop;
    },
    /**
     * Calls the listener with each change in the watched folders.
     * @param {(item: FileItem) => void} listener
     * @returns {Unsubscribe}
     */
    onFiles: (listener) => files.listen(listener),
    /**
     * Calls the listener with the last lines of a log, and with each further one.
     * @param {string} log `backend`, or an agent's id
     * @param {(item: LogItem) => void} listener
     * @param {{ lines?: number, sinceMs?: number }} [options]
     * @returns {Unsubscribe}
     */
    onLog: (log, listener, options = {}) =>
      listenLater(loadLogs, listener, (loaded) => loaded.listen(log, listener, options)),
  };
  watchPage("addEventListener");
  session.start();
  return client;
}
