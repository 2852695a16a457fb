/**
 * A scripted runtime in memory. It speaks the bridge's protocol, and fails on demand.
 * It uses no timer unless it is slow, and then those of its clock.
 */
import { fromBase64, toBase64 } from "../bytes.js";
import * as cache from "../cache.js";
import { pageClock } from "../clock.js";
import { handleError, MainstayError, ownError } from "../errors.js";
import * as fetch from "../fetch.js";
import { globSource } from "../file-changes.js";
import * as frames from "../frames.js";
import * as logs from "../logs.js";
import * as messages from "../messages.js";
import { HistoryFold } from "./mock-history.js";
import { sampleAgent, sampleNode, sampleStatus } from "./samples.js";

/**
 * @typedef {import("../../protocol.d.ts").AgentUpdate} AgentUpdate
 * @typedef {import("../../protocol.d.ts").AgentView} AgentView
 * @typedef {import("../../protocol.d.ts").ErrorObject} ErrorObject
 * @typedef {import("../../protocol.d.ts").EventRecord} EventRecord
 * @typedef {import("../../protocol.d.ts").FileChange} FileChange
 * @typedef {import("../../protocol.d.ts").FrameItem} FrameItem
 * @typedef {import("../../protocol.d.ts").HistoryState} HistoryState
 * @typedef {import("../../protocol.d.ts").Json} Json
 * @typedef {import("../../protocol.d.ts").LogLine} LogLine
 * @typedef {import("../../protocol.d.ts").ServerMessage} ServerMessage
 * @typedef {import("../../protocol.d.ts").StatusReport} StatusReport
 * @typedef {import("../../protocol.d.ts").TreeNode} TreeNode
 * @typedef {import("../../protocol.d.ts").Verdict} Verdict
 * @typedef {import("../clock.js").Clock} Clock
 * @typedef {import("../session.js").LinkEvents} LinkEvents
 * @typedef {import("../session.js").Transport} Transport
 */
/**
 * @template T
 * @typedef {{ [K in keyof T]?: T[K] extends object ? Partial<T[K]> : T[K] }} Patch
 */
/** @typedef {{ [name: string]: unknown, id: number, type: string, action?: string }} Command */
/**
 * What a handler gets beside the command.
 * @typedef {object} Exchange
 * @property {AbortSignal} signal aborts when the command is cancelled, or when its session ends
 * @property {(push: Record<string, unknown>) => void} push sends a push about the command, as `{ progress }`
 * @property {() => number} accept accepts a message to an agent. Returns its number
 * @property {(update: Partial<AgentUpdate>) => void} update sends an update about the message
 * @property {AsyncIterable<Uint8Array>} upload the streamed body
 */
/** @typedef {(command: Command, exchange: Exchange) => unknown} Handler */
/**
 * @typedef {object} MockOptions
 * @property {Patch<StatusReport>} [status]
 * @property {TreeNode} [tree]
 * @property {Partial<AgentView>[]} [agents]
 * @property {number} [keepEvents] the events that a subscription may ask for; 10,000 if absent
 * @property {number} [keepUpdates] the updates of each agent that are kept; 1,000 if absent
 * @property {Clock} [clock]
 */
/**
 * @typedef {object} MockLink
 * @property {LinkEvents} events
 * @property {boolean} isOpen
 * @property {boolean} isDead true if nothing goes through, although it seems open
 * @property {boolean} isSubscribed
 * @property {Set<string>} agents
 * @property {Set<string>} logs
 * @property {readonly string[] | null} frames
 * @property {boolean} files
 * @property {Map<number, Work>} work
 */
/**
 * @typedef {object} Work
 * @property {AbortController} controller
 * @property {boolean} isDetached
 * @property {number} unacknowledged
 * @property {() => void} onAck
 * @property {Upload} upload
 */

/** The modules that a client loads when it first needs them. Here they are at once: under fake timers nothing waits. */
export const ON_DEMAND = [cache, fetch, frames, logs, messages];

const CHUNK_BYTES = 64 * 1024;
const CHUNKS_MAX = 16;
/** The most patterns of one filter of frames. */
const PATTERNS_MAX = 64;

/** The states of the history, by the statuses of actors. @type {Record<TreeNode["status"], HistoryState>} */
const ACTOR_STATES = {
  starting: "starting",
  running: "up",
  stopping: "stopped",
  restarting: "restarting",
  stopped: "stopped",
  failed: "given_up",
};
/** The same by the statuses of agents. Their health says the rest. @type {Record<AgentView["status"], HistoryState>} */
const AGENT_STATES = {
  starting: "starting",
  healthy: "up",
  degraded: "up",
  failed: "up",
  unknown: "up",
  restarting: "restarting",
  stopped: "stopped",
};

/** Collects the written chunks of a streamed body. Each write is taken when its chunk is read. */
class Upload {
  /** @type {{ bytes: Uint8Array, take: () => void }[]} */ #chunks = [];
  /** @type {Error | null} */ #error = null;
  #isOver = false;
  #wake = () => {};

  /** @param {Uint8Array} bytes @returns {Promise<null>} */
  write(bytes) {
    return new Promise((resolve) => {
      this.#chunks.push({ bytes, take: () => resolve(null) });
      this.#wake();
    });
  }

  /** @param {Error | null} error */
  end(error) {
    this.#isOver = true;
    this.#error = error;
    this.#wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk) {
        chunk.take();
        yield chunk.bytes;
      } else if (this.#error) throw this.#error;
      else if (this.#isOver) return;
      else await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
  }
}

/** A scripted runtime. Give it to `connect({ mock })`. `createMock` makes it. */
export class Mock {
  /** The commands that have arrived, oldest first. @type {Command[]} */ commands = [];
  /** The number of links that were ever opened. */
  opened = 0;
  /** @type {StatusReport} */ status;
  /** @type {TreeNode} */ tree;
  /** @type {EventRecord[]} */ events = [];
  /** @type {import("../../protocol.d.ts").IncidentStory[]} */ incidents = [];
  /** The values of the cache. @type {Map<string, Json | Uint8Array>} */ cache = new Map();
  /** The files of watched folders. @type {Map<string, string>} */ files = new Map();
  /** The lines of logs. @type {Map<string, LogLine[]>} */ logs = new Map();
  /** @type {Set<MockLink>} */ #links = new Set();
  /** @type {Map<string, Handler>} */ #handlers = new Map();
  /** @type {Map<string, ErrorObject>} */ #failures = new Map();
  /** @type {Map<string, AgentUpdate[]>} */ #updates = new Map();
  /** @type {Map<string, number>} */ #seqs = new Map();
  #latencyMs = 0;
  #refusals = 0;
  #unavailable = 0;
  #nextMessage = 1;
  #nextRequest = 1;
  /** @type {HistoryFold} */ #history;
  /** The verdicts of the script, each with its beginning. @type {{ at: number, verdict: Verdict }[]} */ #verdicts = [];
  #startedAt;
  #clock;
  #keepEvents;
  #keepUpdates;

  /** @param {MockOptions} [options] */
  constructor(options = {}) {
    this.#clock = options.clock ?? pageClock;
    this.#keepEvents = options.keepEvents ?? 10_000;
    this.#keepUpdates = options.keepUpdates ?? 1000;
    this.#startedAt = this.#clock.now();
    const now = this.#now();
    const agents = (options.agents ?? [{ id: "planner" }]).map((agent) => sampleAgent(agent, now));
    this.status = sampleStatus({ agents }, now);
    this.tree =
      options.tree ??
      sampleNode("root", now, [
        ...["connection", "queue", "cache"].map((name) => sampleNode(`root/${name}`, now)),
        sampleNode(
          "root/agents",
          now,
          agents.map(({ id }) => sampleNode(`root/agents/${id}`, now)),
        ),
      ]);
    this.#history = new HistoryFold(this.#keepEvents);
    this.#patch(options.status ?? {});
    this.#recordTree();
  }

  // === the transport ===

  /** @type {Transport["open"]} */
  open = (events) => {
    /** @type {MockLink} */
    const link = {
      events,
      isOpen: false,
      isDead: false,
      isSubscribed: false,
      agents: new Set(),
      logs: new Set(),
      frames: null,
      files: false,
      work: new Map(),
    };
    this.#links.add(link);
    this.opened++;
    this.#later(link, () => {
      if (this.#refusals > 0) {
        this.#refusals--;
        return this.#cut(link);
      }
      link.isOpen = true;
      events.onOpen();
    });
    return {
      send: (text) => this.#later(link, () => void this.#receive(link, JSON.parse(text))),
      close: () => this.#forget(link),
    };
  };

  /** The number of links that are open. */
  get sessions() {
    return [...this.#links].filter((link) => link.isOpen).length;
  }

  // === the script ===

  /**
   * Changes the status, and tells it as the runtime does: with events.
   * @param {Patch<StatusReport>} patch
   */
  setStatus(patch) {
    const before = this.status;
    this.#patch(patch);
    const { connection, queue } = this.status;
    if (patch.connection) {
      const { attempt, max, next_attempt_at, next_attempt_in_ms, error } = connection;
      this.pushEvent({
        kind: "connection_state",
        actor: "root/connection",
        fields: {
          from: before.connection.state,
          to: connection.state,
          attempt,
          max,
          next_attempt_at,
          next_attempt_in_ms,
          reason: error?.reason ?? "requested",
          code: error?.code ?? null,
          error,
        },
      });
    } else if (!before.queue.held !== !queue.held) {
      const kind = queue.held ? "queue_held" : "queue_released";
      this.pushEvent({
        kind,
        actor: "root/queue",
        fields: { reason: "disconnected", failures: 1, waiting: 0 },
      });
    } else this.#tellAll({ events: [], cursor: this.cursor }, (link) => link.isSubscribed);
  }

  /**
   * Changes an agent, or adds it.
   * @param {string} id
   * @param {Partial<AgentView>} patch
   */
  setAgent(id, patch) {
    const before = this.status.agents.find((agent) => agent.id === id);
    const now = this.#now();
    const since = patch.status && patch.status !== before?.status ? now : (before?.since ?? now);
    const agent = { ...(before ?? sampleAgent({ id }, now)), since, ...patch };
    const agents = before
      ? this.status.agents.map((other) => (other.id === id ? agent : other))
      : [...this.status.agents, agent];
    this.status = { ...this.status, agents };
    this.pushEvent({
      kind: "agent_health",
      actor: `root/agents/${id}`,
      fields: {
        from: before?.status ?? "starting",
        to: agent.status,
        misses: agent.misses,
        error: agent.error,
      },
    });
    this.#recordAgent(agent);
    if (!agent.gave_up || before?.gave_up) return;
    const { restarts, last_error, next_step } = agent;
    this.pushEvent({ kind: "gave_up", actor: `root/agents/${id}`, fields: { restarts, last_error, next_step } });
  }

  /**
   * Records an event, and pushes it.
   * @param {{ kind: string, actor?: string, generation?: number, fields?: Record<string, unknown> }} event
   */
  pushEvent(event) {
    this.pushEvents([event]);
  }

  /**
   * Records events, and pushes them in one batch.
   * @param {{ kind: string, actor?: string, generation?: number, fields?: Record<string, unknown> }[]} events
   */
  pushEvents(events) {
    const { run } = this.status.runtime;
    let { seq } = this.status.runtime;
    const at = this.#now();
    const mono_ms = this.#clock.now() - this.#startedAt;
    const records = events.map(
      ({ kind, actor = "root", generation = 1, fields }) =>
        /** @type {EventRecord} */ (
          /** @type {unknown} */ ({ run, seq: ++seq, at, mono_ms, actor, generation, kind, ...fields })
        ),
    );
    this.status = { ...this.status, runtime: { ...this.status.runtime, seq } };
    for (const record of records) this.#history.apply(record);
    this.events.push(...records);
    this.events.splice(0, Math.max(0, this.events.length - this.#keepEvents));
    this.#tellAll({ events: records, cursor: this.cursor }, (link) => link.isSubscribed);
  }

  /** The cursor of the newest event. */
  get cursor() {
    const { run, seq } = this.status.runtime;
    return `${run}.${seq}`;
  }

  /**
   * Sends an update of an agent.
   * @param {string} id
   * @param {Partial<AgentUpdate>} update
   */
  agentUpdate(id, update) {
    const seq = (this.#seqs.get(id) ?? 0) + 1;
    this.#seqs.set(id, seq);
    /** @type {AgentUpdate} */
    const whole = { kind: "message", body: null, ...update, seq };
    const kept = this.#updates.get(id) ?? [];
    kept.push(whole);
    kept.splice(0, Math.max(0, kept.length - this.#keepUpdates));
    this.#updates.set(id, kept);
    this.#askOf(id, whole);
    this.#tellAll({ agent: id, update: whole }, (link) => link.agents.has(id));
  }

  /** @param {FrameItem} frame */
  pushFrame(frame) {
    this.#tellAll({ frame }, (link) => !!link.frames);
  }

  /** @param {FileChange} file */
  pushFile(file) {
    this.#tellAll({ file }, (link) => link.files);
  }

  /**
   * Writes lines to a log.
   * @param {string} id
   * @param {(string | LogLine)[]} lines
   */
  pushLog(id, lines) {
    const at = this.#now();
    const whole = lines.map((line) =>
      typeof line === "string" ? { at, stream: /** @type {const} */ ("out"), text: line } : line,
    );
    this.logs.set(id, [...(this.logs.get(id) ?? []), ...whole]);
    this.#tellAll({ log: id, lines: whole }, (link) => link.logs.has(id));
  }

  /**
   * Tells that a listener was too slow.
   * @param {"frame" | "file" | { agent: string } | { log: string }} what
   * @param {number} lagged
   */
  pushLagged(what, lagged) {
    const push = typeof what === "string" ? { [what]: { lagged } } : { ...what, lagged };
    this.#tellAll(/** @type {ServerMessage} */ (push), () => true);
  }

  /**
   * Answers commands of a type, `request`, or of a type and an action, `agent.send`. Returns the undoing.
   * The handler returns the reply or a promise of it, or throws. A thrown `MainstayError` is passed on.
   * @param {string} type
   * @param {Handler} handler
   */
  on(type, handler) {
    this.#handlers.set(type, handler);
    return () => void this.#handlers.delete(type);
  }

  // === faults ===

  /** Breaks every link. @param {{ refuse?: number }} [options] the number of attempts that fail next */
  drop({ refuse = 0 } = {}) {
    this.#refusals = refuse;
    for (const link of [...this.#links]) this.#cut(link);
  }

  /** Lets nothing through the present links, which seem open. */
  halfOpen() {
    for (const link of this.#links) link.isDead = true;
  }

  /** Delays everything in each direction. @param {number} ms */
  slow(ms) {
    this.#latencyMs = ms;
  }

  /**
   * Lets every command of a type fail, or no longer with null.
   * @param {string} type
   * @param {Partial<ErrorObject> | MainstayError | null} error
   */
  fail(type, error) {
    if (!error) return void this.#failures.delete(type);
    const whole =
      error instanceof MainstayError ? error : new MainstayError({ message: "It failed.", ...error });
    this.#failures.set(type, whole.toJSON());
  }

  /** Answers the next requests with the status 503. @param {number} [count] all if absent; 0 ends it */
  respond503(count = Infinity) {
    this.#unavailable = count;
  }

  /**
   * Crashes an agent: it restarts at a planned time, and `recover` brings it back.
   * @param {string} id
   * @param {{ restartInMs?: number, message?: string }} [options]
   */
  crash(id, { restartInMs = 1000, message = "the agent has exited with code 1" } = {}) {
    const agent = this.status.agents.find((other) => other.id === id);
    const actor = `root/agents/${id}`;
    const { generation = 1, restarts = 0, budget_left: left, budget } = agent ?? {};
    const { max, window_ms } = budget ?? { max: 5, window_ms: 600_000 };
    const budget_left = Math.max(0, (left ?? max) - 1);
    const use = { used: max - budget_left, max, window_ms };
    const decided = { decision: "restart", delay_ms: restartInMs, attempt: use.used, state: "checkpoint", budget: use };
    this.pushEvents([
      { kind: "actor_exited", actor, generation, fields: { cause: "error", message, location: null } },
      { kind: "decision", actor, generation, fields: { ...decided, scope: [actor] } },
    ]);
    this.setAgent(id, {
      status: "restarting",
      restarts: restarts + 1,
      budget_left,
      restart_at: new Date(this.#clock.now() + restartInMs).toISOString(),
      last_error: message,
      error: /** @type {ErrorObject} */ (new MainstayError({ reason: "agent_failed", message }).toJSON()),
      next_step: `is restarted in ${Math.round(restartInMs / 1000)} s`,
    });
  }

  /** Brings a crashed agent back. @param {string} id */
  recover(id) {
    const agent = this.status.agents.find((other) => other.id === id);
    const generation = (agent?.generation ?? 0) + 1;
    const fields = { downtime_ms: 1000, state: "checkpoint", backlog: 0 };
    this.pushEvent({ kind: "actor_restarted", actor: `root/agents/${id}`, generation, fields });
    this.setAgent(id, {
      status: "healthy",
      generation,
      restart_at: null,
      last_error: null,
      error: null,
      next_step: "checked regularly",
    });
  }

  /**
   * Ends the runtime and starts it again. Events are kept; updates of agents are not.
   * @param {{ foreign?: boolean }} [options] `foreign`: the next one has another data folder
   */
  restartRuntime({ foreign = false } = {}) {
    const run = foreign ? 1 : this.status.runtime.run + 1;
    const boot = `boot${this.opened + 1}-${run}`;
    if (foreign) {
      this.events = [];
      this.#history = new HistoryFold(this.#keepEvents);
    }
    this.status = { ...this.status, runtime: { ...this.status.runtime, run, boot, seq: 0 } };
    this.#updates.clear();
    this.#seqs.clear();
    this.#startedAt = this.#clock.now();
    this.drop();
    this.pushEvent({ kind: "runtime_started", fields: { pid: 4711, version: "0.1.0", boot } });
    this.#recordTree();
  }

  // === the runtime's side ===

  #now() {
    return new Date(this.#clock.now()).toISOString();
  }

  /** @param {Patch<StatusReport>} patch */
  #patch(patch) {
    const status = /** @type {Record<string, unknown>} */ ({ ...this.status });
    for (const [name, value] of Object.entries(patch)) {
      const isPart = value && typeof value === "object" && !Array.isArray(value);
      status[name] = isPart ? { .../** @type {object} */ (status[name]), ...value } : value;
    }
    this.status = /** @type {StatusReport} */ (/** @type {unknown} */ (status));
    const { connection, verdict } = this.status;
    if (this.#verdicts.at(-1)?.verdict !== verdict) this.#verdicts.push({ at: this.#clock.now(), verdict });
    if (!patch.connection || !("next_attempt_in_ms" in patch.connection)) return;
    const delay = connection.next_attempt_in_ms;
    const at = delay == null ? null : new Date(this.#clock.now() + delay).toISOString();
    this.status = { ...this.status, connection: { ...connection, next_attempt_at: at } };
  }

  /** Sets each actor of the history to its state in the tree. */
  #recordTree() {
    const record = (/** @type {TreeNode} */ { path, status, generation, restarts, restart_at, last_error, children }) => {
      const members = { state: ACTOR_STATES[status], generation, restarts, restart_at, last_error };
      this.#history.set(path, this.#clock.now(), this.cursor, members);
      children.forEach(record);
    };
    record(this.tree);
  }

  /** Sets an agent of the history to its view. @param {AgentView} agent */
  #recordAgent({ id, status, generation, restarts, restart_at, gave_up }) {
    const members = { state: gave_up ? "given_up" : AGENT_STATES[status], generation, restarts, restart_at };
    this.#history.set(`root/agents/${id}`, this.#clock.now(), this.cursor, members);
  }

  /** Returns the status with its delays as of now. @returns {StatusReport} */
  #report() {
    const { runtime, connection } = this.status;
    const at = connection.next_attempt_at;
    const next_attempt_in_ms = at ? Math.max(0, Date.parse(at) - this.#clock.now()) : null;
    return {
      ...this.status,
      runtime: { ...runtime, uptime_ms: this.#clock.now() - this.#startedAt },
      connection: { ...connection, next_attempt_in_ms },
    };
  }

  /**
   * @param {MockLink} link
   * @param {() => void} task
   */
  #later(link, task) {
    const run = () => {
      if (this.#links.has(link) && !link.isDead) task();
    };
    if (this.#latencyMs) this.#clock.setTimeout(run, this.#latencyMs);
    else queueMicrotask(run);
  }

  /**
   * @param {MockLink} link
   * @param {ServerMessage | Record<string, unknown>} message
   */
  #tell(link, message) {
    if (!link.isOpen) return;
    const text = JSON.stringify(message);
    this.#later(link, () => link.events.onMessage(text));
  }

  /**
   * @param {ServerMessage} message
   * @param {(link: MockLink) => boolean} isMeant
   */
  #tellAll(message, isMeant) {
    for (const link of this.#links) if (isMeant(link)) this.#tell(link, message);
  }

  /** @param {MockLink} link */
  #cut(link) {
    const { events } = link;
    this.#forget(link);
    events.onClose(ownError("disconnected", "the mock has dropped the link"));
  }

  /** @param {MockLink} link */
  #forget(link) {
    this.#links.delete(link);
    link.isOpen = false;
    for (const work of link.work.values()) if (!work.isDetached) work.controller.abort(ownError("cancelled"));
  }

  /**
   * @param {MockLink} link
   * @param {Command} command
   */
  async #receive(link, command) {
    this.commands.push(command);
    const { id, type } = command;
    const name = `${type}.${command.action}`;
    const failure = this.#failures.get(name) ?? this.#failures.get(type);
    if (failure) return this.#tell(link, { id, error: failure });
    const handler = this.#handlers.get(name) ?? this.#handlers.get(type);
    const isLong = type === "request" || name === "agent.send" || name === "connection.send";
    if (isLong || handler) return this.#work(link, command, handler ?? this.#default(command));
    try {
      const ok = await this.#execute(link, command);
      if (ok !== undefined) this.#tell(link, { id, ok });
    } catch (error) {
      this.#tell(link, { id, error: handleError(error) });
    }
  }

  /**
   * Runs a handler, and sends what comes of it.
   * @param {MockLink} link
   * @param {Command} command
   * @param {Handler} handler
   */
  async #work(link, command, handler) {
    const { id, type, action } = command;
    const controller = new AbortController();
    const upload = new Upload();
    /** @type {Work} */
    const work = {
      controller,
      upload,
      isDetached: command.detached === true,
      unacknowledged: 0,
      onAck: () => {},
    };
    link.work.set(id, work);
    controller.signal.addEventListener("abort", () => upload.end(ownError("cancelled")));
    const agent = String(command.agent);
    /** @type {number | null} */
    let messageId = null;
    const accept = () => {
      if (messageId != null) return messageId;
      messageId = this.#nextMessage++;
      this.#tell(link, { agent, accepted: { id, message_id: messageId } });
      this.agentUpdate(agent, {
        kind: "sent",
        message_id: messageId,
        body: /** @type {Json} */ (command.body),
      });
      this.#messages.set(messageId, controller);
      return messageId;
    };
    /** @type {Exchange} */
    const exchange = {
      signal: controller.signal,
      upload,
      accept,
      push: (push) => this.#tell(link, { request: id, ...push }),
      update: (update) => this.agentUpdate(agent, { message_id: accept(), ...update }),
    };
    const isMessage = type === "agent" && action === "send";
    try {
      if (isMessage) accept();
      if (type === "request") {
        exchange.push({ accepted: { request_id: this.#nextRequest++ } });
        if (this.#unavailable > 0) {
          this.#unavailable--;
          throw unavailable();
        }
      }
      const ok = await untilAborted(Promise.resolve(handler(command, exchange)), controller.signal);
      if (isMessage) this.#end(agent, messageId, { answer: /** @type {Json} */ (ok) });
      if (command.stream) return await this.#stream(link, command, work, ok);
      this.#tell(link, {
        id,
        ok: isMessage ? { message_id: messageId, answer: ok } : this.#respond(command, ok),
      });
    } catch (thrown) {
      const error = /** @type {ErrorObject} */ (JSON.parse(JSON.stringify(handleError(thrown))));
      if (isMessage)
        this.#end(agent, messageId, { error: /** @type {Json} */ (/** @type {unknown} */ (error)) });
      this.#tell(link, { id, error });
    } finally {
      link.work.delete(id);
      if (messageId != null) this.#messages.delete(messageId);
    }
  }

  /** @type {Map<number, AbortController>} */ #messages = new Map();

  /**
   * @param {string} agent
   * @param {number | null} messageId
   * @param {Json} body
   */
  #end(agent, messageId, body) {
    this.agentUpdate(agent, { kind: "ended", message_id: messageId ?? undefined, body });
  }

  /**
   * Completes a response that a handler gives in part.
   * @param {Command} command
   * @param {unknown} reply
   */
  #respond({ type }, reply) {
    if (type !== "request") return reply ?? null;
    const part = /** @type {object} */ (
      reply && typeof reply === "object" && "status" in reply ? reply : { body: reply }
    );
    return {
      status: 200,
      headers: {},
      body: null,
      ms: 1,
      cached: false,
      attempts: 1,
      request_id: this.#nextRequest - 1,
      ...part,
    };
  }

  /**
   * Streams a response: `chunks`, or its body as one.
   * @param {MockLink} link
   * @param {Command} command
   * @param {Work} work
   * @param {unknown} reply
   */
  async #stream(link, command, work, reply) {
    const { id } = command;
    const { body, base64, chunks, ...head } = /** @type {Record<string, unknown>} */ (
      this.#respond(command, reply)
    );
    this.#tell(link, { id, ok: head });
    const whole = base64
      ? fromBase64(String(base64))
      : typeof body === "string"
        ? body
        : JSON.stringify(body);
    const source = /** @type {AsyncIterable<string | Uint8Array>} */ (chunks ?? [whole]);
    let bytes = 0;
    try {
      for await (const part of source) {
        const raw = typeof part === "string" ? new TextEncoder().encode(part) : part;
        for (let at = 0; at < raw.length; at += CHUNK_BYTES) {
          while (work.unacknowledged >= CHUNKS_MAX) {
            await untilAborted(
              new Promise((resolve) => (work.onAck = () => resolve(undefined))),
              work.controller.signal,
            );
          }
          work.controller.signal.throwIfAborted();
          const piece = raw.subarray(at, at + CHUNK_BYTES);
          bytes += piece.length;
          work.unacknowledged++;
          this.#tell(link, { request: id, chunk: toBase64(piece) });
        }
      }
      this.#tell(link, { request: id, end: { bytes } });
    } catch (error) {
      this.#tell(link, { request: id, error: handleError(error) });
    }
  }

  /** @param {Command} command @returns {Handler} */
  #default({ type, action }) {
    if (type === "request") {
      return async ({ method, path, body, stream_body }, { upload }) => {
        let bytes = 0;
        if (stream_body) for await (const chunk of upload) bytes += chunk.length;
        const echo = {
          method,
          path,
          ...(body !== undefined && { body }),
          ...(stream_body ? { bytes } : null),
        };
        return { status: 200, headers: { "content-type": "application/json" }, body: echo };
      };
    }
    if (type === "connection") return () => ({ outcome: "sent" });
    return ({ agent, body }, { update }) => {
      update({ kind: "message", body: { text: `${agent} works` } });
      return { text: `${agent} has got ${JSON.stringify(body)}`, action };
    };
  }

  /**
   * @param {MockLink} link
   * @param {Command} command
   * @returns {Promise<unknown>}
   */
  async #execute(link, command) {
    const { type } = command;
    const { run, boot } = this.status.runtime;
    switch (type) {
      case "hello":
        return {
          protocol: 1,
          version: "0.1.0",
          run,
          boot,
          now: this.#now(),
          capabilities: ["requests", "streams", "frames", "agents", "cache", "files", "logs", "incidents", "history"],
        };
      case "status":
        return this.#report();
      case "tree":
        return this.tree;
      case "ready":
        return { is_ready: true };
      case "agents":
        return this.status.agents;
      case "subscribe":
        return this.#subscribe(link, command);
      case "agent":
        return this.#agent(link, command);
      case "connection":
        return this.#connection(link, command);
      case "cache":
        return this.#cache(command);
      case "files":
        link.files = command.action === "listen";
        return null;
      case "logs":
        return this.#log(link, command);
      case "requests":
        return command.action === "show" ? [] : { cancelled: false, prioritized: false };
      case "history":
        return this.#past(command);
      case "incidents":
        return { incidents: this.incidents.slice(0, Number(command.limit ?? 50)) };
      case "cancel": {
        const work = link.work.get(Number(command.request));
        work?.controller.abort(ownError("cancelled"));
        return { cancelled: !!work };
      }
      case "body":
        return this.#body(link, command);
      case "backend":
        if (this.status.backend) return this.status.backend;
        throw new MainstayError({
          code: "NOT_FOUND",
          reason: "not_found",
          message: "This runtime does not start its backend.",
        });
      case "credentials":
        return { changed: false };
      default:
        throw ownError("invalid_request", `"${type}" is not known here`);
    }
  }

  /**
   * @param {MockLink} link
   * @param {Command} command
   */
  #subscribe(link, { id, after }) {
    link.isSubscribed = true;
    const { cursor } = this;
    this.#tell(link, { id, ok: null });
    this.#tell(link, { snapshot: { status: this.#report(), tree: this.tree }, cursor });
    if (after == null) return undefined;
    const [run, seq] = String(after).split(".").map(Number);
    const later = this.events.filter((event) => (event.run - run || event.seq - seq) > 0);
    const first = this.events[0];
    const isGap =
      first &&
      later[0] === first &&
      !(first.run === run && first.seq === seq + 1) &&
      this.events.length >= this.#keepEvents;
    if (isGap) {
      const before = `${first.run}.${first.seq}`;
      this.#tell(link, { lagged: { after, before }, cursor: `${first.run}.${first.seq - 1}` });
    }
    for (let at = 0; at < later.length; at += 1000) {
      const events = later.slice(at, at + 1000);
      const last = events[events.length - 1];
      this.#tell(link, { events, cursor: `${last.run}.${last.seq}` });
    }
    return undefined;
  }

  /**
   * @param {MockLink} link
   * @param {Command} command
   */
  #agent(link, command) {
    const id = String(command.agent);
    const view = this.status.agents.find((agent) => agent.id === id);
    if (command.action === "add" && view) {
      const message = "There is an agent of that name already. Choose another, or remove that one first.";
      throw new MainstayError({ code: "INVALID_INPUT", reason: "conflict", message });
    }
    if (command.action === "add") this.setAgent(id, /** @type {Partial<AgentView>} */ (command.config));
    else if (!view) {
      const message = "There is no agent of that name. Check the name against the list of agents.";
      throw new MainstayError({ code: "NOT_FOUND", reason: "agent_unknown", message });
    }
    switch (command.action) {
      case "listen":
        this.#listen(link, command, id);
        return undefined;
      case "unlisten":
        link.agents.delete(id);
        return null;
      case "remove":
        this.status = { ...this.status, agents: this.status.agents.filter((agent) => agent !== view) };
        this.#updates.delete(id);
        this.#seqs.delete(id);
        this.#tellAll({ agent: id, ended: true }, (link) => link.agents.delete(id));
        return null;
      case "answer":
        this.agentUpdate(id, {
          kind: "settled",
          ask: String(command.ask),
          outcome: "answered",
          body: /** @type {Json} */ (command.body),
        });
        return null;
      case "cancel": {
        const message = this.#messages.get(Number(command.message_id));
        message?.abort(ownError("cancelled"));
        return { cancelled: !!message };
      }
      case "restart":
      case "start":
      case "reset":
        this.setAgent(id, {
          status: "healthy",
          restart_at: null,
          last_error: null,
          error: null,
          gave_up: false,
        });
        break;
      case "stop":
        this.setAgent(id, { status: "stopped", next_step: "stopped" });
    }
    const details = this.status.agents.find((agent) => agent.id === id);
    return {
      ...details,
      events: this.events.filter((event) => event.actor === `root/agents/${id}`).slice(-5),
    };
  }

  /**
   * @param {MockLink} link
   * @param {Command} command
   * @param {string} id
   */
  #listen(link, command, id) {
    const last = this.#seqs.get(id) ?? 0;
    // A number that is still to come is of another run.
    const after = Number(command.after ?? last) > last ? 0 : Number(command.after ?? last);
    this.#tell(link, { id: command.id, ok: { seq: after } });
    link.agents.add(id);
    if (command.after == null) return;
    const kept = (this.#updates.get(id) ?? []).filter((update) => Number(update.seq) > after);
    const lost = (kept[0]?.seq ?? last + 1) - after - 1;
    if (lost > 0) this.#tell(link, { agent: id, lagged: lost });
    for (const update of kept) this.#tell(link, { agent: id, update });
  }

  /**
   * Keeps the questions of an agent's view.
   * @param {string} id
   * @param {AgentUpdate} update
   */
  #askOf(id, { kind, ask, message_id, outcome, body }) {
    if (!ask) return;
    const agents = this.status.agents.map((agent) => {
      if (agent.id !== id) return agent;
      const questions = agent.questions.filter((question) => question.ask !== ask);
      if (kind === "ask") questions.push({ ask, message_id, since: this.#now(), body });
      return { ...agent, questions };
    });
    this.status = { ...this.status, agents };
    const type = kind === "ask" ? "agent_question" : "agent_question_settled";
    if (kind === "ask" || kind === "settled") {
      const end = kind === "ask" ? { text: JSON.stringify(body) } : { outcome: outcome ?? "cancelled" };
      this.pushEvent({ kind: type, actor: `root/agents/${id}`, fields: { ask, message_id, ...end } });
    }
  }

  /**
   * @param {MockLink} link
   * @param {Command} command
   */
  #connection(link, { action, types }) {
    if (action === "listen" && /** @type {string[]} */ (types ?? []).length > PATTERNS_MAX)
      throw ownError("invalid_request", `"types" takes at most ${PATTERNS_MAX} patterns`);
    if (action === "listen") link.frames = /** @type {string[]} */ (types ?? []);
    if (action === "unlisten") link.frames = null;
    if (action === "listen" || action === "unlisten") return null;
    if (action === "disconnect")
      this.setStatus({ connection: { state: "disconnected", next_attempt_in_ms: null } });
    if (action === "reconnect") {
      const reconnected = this.status.connection.state === "connected" ? "replaced" : "opened";
      this.setStatus({
        connection: {
          state: "connected",
          attempt: 1,
          next_attempt_in_ms: null,
          error: null,
          last_error: null,
        },
      });
      return { ...this.#report().connection, reconnected };
    }
    return this.#report().connection;
  }

  /** @param {Command} command */
  #past({ action, at, from, to }) {
    const time = (/** @type {unknown} */ text) => (text == null ? undefined : Date.parse(String(text)));
    if (action === "lanes") return this.#history.lanes(time(from), time(to));
    const moment = time(at);
    if (moment == null || Number.isNaN(moment)) throw ownError("invalid_request", `"${at}" is no time`);
    const { cursor, tree } = this.#history.at(moment);
    const verdict = tree && this.#verdicts.findLast((each) => each.at <= moment)?.verdict;
    return { at: new Date(moment).toISOString(), cursor, verdict: verdict ?? null, tree };
  }

  /** @param {Command} command */
  #cache({ action, key, value, base64, by, pattern, path, folder, query }) {
    const name = String(key);
    if (action === "get") {
      const found = this.cache.get(name);
      if (found instanceof Uint8Array) return { hit: true, base64: toBase64(found) };
      return found === undefined ? { hit: false } : { hit: true, value: found };
    }
    if (action === "put") {
      checkKey(name);
      this.cache.set(name, base64 == null ? /** @type {Json} */ (value) : fromBase64(String(base64)));
      return null;
    }
    if (action === "file") {
      const text = this.files.get(String(path));
      if (text != null) return { text };
      throw new MainstayError({ code: "NOT_FOUND", reason: "not_found", message: "There is no such file." });
    }
    if (action === "search") {
      const below = `${folder}/`;
      const glob = new RegExp(`^${globSource(String(query))}$`);
      const files = [...this.files.keys()].filter((each) => each.startsWith(below));
      return { paths: files.filter((each) => glob.test(each.slice(below.length))).sort(), is_partial: false };
    }
    if (action === "show") return this.status.cache;
    const source = String(pattern)
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replace(/\*+/g, ".*");
    const glob = new RegExp(`^${source}$`);
    const keys = [...this.cache.keys()].filter(
      (each) =>
        by === "all" ||
        (by === "prefix"
          ? each.startsWith(String(pattern))
          : by === "glob"
            ? glob.test(each)
            : each === pattern),
    );
    for (const each of keys) this.cache.delete(each);
    this.pushEvent({
      kind: "cache_invalidated",
      actor: "root/cache",
      fields: { by, pattern: pattern ?? "everything", entries: keys.length },
    });
    return { entries: keys.length };
  }

  /**
   * @param {MockLink} link
   * @param {Command} command
   */
  #log(link, { action, log, lines = 100, since_ms }) {
    if (action === "ids") return { ids: [...this.logs.keys()].sort() };
    const id = String(log);
    const all = this.logs.get(id);
    if (!all)
      throw new MainstayError({ code: "NOT_FOUND", reason: "not_found", message: "There is no such log." });
    const since = since_ms == null ? -Infinity : this.#clock.now() - Number(since_ms);
    const recent = all.filter((line) => Date.parse(line.at) >= since);
    const last = recent.slice(Math.max(0, recent.length - Number(lines)));
    if (action === "read") return { lines: last };
    if (action === "listen") link.logs.add(id);
    else link.logs.delete(id);
    if (action === "listen" && last.length && lines)
      queueMicrotask(() => this.#tell(link, { log: id, lines: last }));
    return null;
  }

  /**
   * @param {MockLink} link
   * @param {Command} command
   */
  #body(link, { action, request, chunks, base64 }) {
    const work = link.work.get(Number(request));
    if (!work) throw ownError("invalid_request", "there is no such request");
    if (action === "write") return work.upload.write(fromBase64(String(base64)));
    if (action === "ack") {
      work.unacknowledged -= Number(chunks);
      work.onAck();
    } else work.upload.end(action === "end" ? null : ownError("cancelled"));
    return null;
  }
}

const KEY_BYTES_MAX = 8 * 1024;

/**
 * Throws unless a page may store a value under a key, as the runtime judges.
 * @param {string} key
 */
function checkKey(key) {
  if (new TextEncoder().encode(key).length > KEY_BYTES_MAX) {
    throw new MainstayError({
      code: "INVALID_INPUT",
      reason: "request_too_large",
      message: "The request is larger than the backend accepts. Send less at once.",
      details: `a key has at most ${KEY_BYTES_MAX} bytes`,
    });
  }
  if (!/^[a-z0-9_-]+:/.test(key)) {
    throw ownError(
      "invalid_request",
      'a key begins with a namespace of lower-case letters, digits, "-" and "_" and a colon, ' +
        'as in "notes:today"',
    );
  }
  if (/^(file|search|http):/.test(key)) {
    throw ownError(
      "invalid_request",
      '"file:", "search:" and "http:" are filled by the runtime: use a namespace of your own',
    );
  }
}

function unavailable() {
  const message = "The backend is not available at the moment. Try again later.";
  return new MainstayError({
    code: "SERVER_ERROR",
    reason: "unavailable",
    status: 503,
    message,
    retryable: true,
    attempts: 1,
  });
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} signal
 * @returns {Promise<T>}
 */
function untilAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason));
    promise.then(resolve, reject);
  });
}

/**
 * Creates a scripted runtime.
 * @param {MockOptions} [options]
 */
export function createMock(options) {
  return new Mock(options);
}
