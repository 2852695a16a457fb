/** A scripted runtime behind a real WebSocket, for tests and the benchmark. */
import { createServer } from "node:http";

import { WebSocketServer } from "ws";

/** Returns an agent as the runtime reports it. */
export function agentReport(id, more = {}) {
  return {
    id,
    driver: "http",
    status: "healthy",
    since: "2026-03-01T12:00:00Z",
    misses: 0,
    last_check: null,
    error: null,
    uptime_s: 10,
    error_count: 0,
    state_saved_at: null,
    process: null,
    messages_waiting: 0,
    messages_in_flight: 0,
    questions: [],
    gave_up: false,
    generation: 1,
    restarts: 0,
    budget_left: 5,
    budget: null,
    restart_at: null,
    last_error: null,
    resolved_error: null,
    fail_after: 3,
    next_step: "checked regularly",
    noisy: false,
    ...more,
  };
}

/** Returns a status in which all is well. */
export function statusReport(more = {}) {
  return {
    runtime: { run: 1, boot: "boot-1", pid: 1, uptime_ms: 5, seq: 1 },
    connection: {
      state: "connected",
      since: "2026-03-01T12:00:00Z",
      attempt: 1,
      max: 5,
      next_attempt_at: null,
      next_attempt_in_ms: null,
      next_step: "",
      last_error: null,
      error: null,
      last_error_at: null,
    },
    queue: {
      waiting: 0,
      backing_off: 0,
      running: 0,
      max_concurrent: 6,
      by_priority: { high: 0, normal: 0, low: 0 },
      groups: [],
      held: null,
    },
    cache: {
      entries: 0,
      bytes: 0,
      bytes_max: 1,
      hits: 0,
      stale_hits: 0,
      misses: 0,
      loads: 0,
      load_failures: 0,
      loads_superseded: 0,
      evictions: 0,
      invalidated: 0,
      oldest_ms: null,
      folders: [],
    },
    agents: [agentReport("planner"), agentReport("writer")],
    storage: { journal: "ok", state: "ok", logs: "ok" },
    ...more,
  };
}

const TREE = {
  path: "/",
  kind: "supervisor",
  status: "running",
  since: "2026-03-01T12:00:00Z",
  generation: 1,
  restarts: 0,
  restart_at: null,
  attempts: 0,
  budget_left: null,
  last_error: null,
  last_error_at: null,
  next_step: null,
  abandoned: 0,
  mailbox: 0,
  children: [],
};

/** Starts the runtime. `/raw` is a plain socket that gets the same frames, without the bridge around them. */
export async function startBridge() {
  const http = createServer();
  const sockets = new WebSocketServer({ server: http });
  const open = new Set();
  const raw = new Set();
  const waiters = new Set();
  const bridge = {
    url: "",
    status: statusReport(),
    tree: TREE,
    seq: 1,
    sessions: 0,
    /** The commands of all sessions, in their order. */
    commands: [],
    handlers: new Map(),
    open,
    raw,
    cursor: () => `1.${bridge.seq}`,
    /** Answers commands of a type. The handler returns the reply, or throws an error object. */
    on: (type, handler) => bridge.handlers.set(type, handler),
    /** The updates so far, which a later `listen` with `after` gets again, as from the runtime. */
    updates: [],
    send(message) {
      if (message.update) bridge.updates.push(message);
      open.forEach((socket) => socket.send(JSON.stringify(message)));
    },
    /** Changes the status, and announces an event so that pages read it. */
    change(patch) {
      bridge.status = { ...bridge.status, ...patch };
      bridge.event({ kind: "budget_reset", actor: "/" });
    },
    changeAgent(id, patch) {
      bridge.change({
        agents: bridge.status.agents.map((agent) => (agent.id === id ? { ...agent, ...patch } : agent)),
      });
    },
    event(fields) {
      bridge.seq++;
      const header = {
        run: 1,
        seq: bridge.seq,
        at: "2026-03-01T12:00:00Z",
        mono_ms: bridge.seq,
        actor: "/",
        generation: 1,
      };
      bridge.send({ events: [{ ...header, ...fields }], cursor: bridge.cursor() });
    },
    frame(text) {
      bridge.send({ frame: { text } });
      raw.forEach((socket) => socket.send(text));
    },
    /** Ends each session without a close frame. */
    drop: () => open.forEach((socket) => socket.terminate()),
    /** Waits until a condition holds, by looking after each command, session and end of one. */
    until(condition) {
      return new Promise((resolve, reject) => {
        const limit = setTimeout(() => reject(new Error(`this never became true: ${condition}`)), 10_000);
        const look = () => {
          const value = condition();
          if (!value) return;
          clearTimeout(limit);
          waiters.delete(look);
          resolve(value);
        };
        waiters.add(look);
        look();
      });
    },
    async close() {
      for (const socket of [...open, ...raw]) socket.terminate();
      await new Promise((resolve) => http.close(resolve));
    },
  };
  const look = () => [...waiters].forEach((waiter) => waiter());

  const reply = async (socket, command) => {
    const { id, type } = command;
    const push = (message) => {
      if (message.update && !bridge.updates.includes(message)) bridge.updates.push(message);
      socket.send(JSON.stringify(message));
    };
    try {
      const handler = bridge.handlers.get(type);
      const result = handler ? handler(command, push) : bridge.default(command);
      // What is there at once goes out before the next command is read, as from the runtime.
      const ok = result instanceof Promise ? await result : result;
      if (ok !== undefined) push({ id, ok });
      if (type === "subscribe" && ok !== undefined) {
        push({ snapshot: { status: bridge.status, tree: bridge.tree }, cursor: bridge.cursor() });
      }
      if (type === "agent" && command.action === "listen" && command.after != null) {
        const kept = ({ agent, update }) => agent === command.agent && update.seq > command.after;
        bridge.updates.filter(kept).forEach(push);
      }
    } catch (error) {
      push({ id, error });
    }
  };
  const response = { status: 200, headers: {}, body: null, ms: 1, cached: false, attempts: 1, request_id: 1 };
  bridge.default = ({ type, action }) => {
    if (type === "logs" && action === "read") return { lines: [] };
    if (type === "cache" && action === "get") return { hit: false };
    if (type === "requests" && action === "show") return [];
    if (type === "request") return response;
    if (type === "status") return bridge.status;
    if (type === "tree") return bridge.tree;
    if (type === "hello") {
      return {
        protocol: 1,
        version: "0.1.0",
        run: 1,
        boot: "boot-1",
        now: new Date().toISOString(),
        capabilities: [],
      };
    }
    return null;
  };

  sockets.on("connection", (socket, request) => {
    const isRaw = request.url?.startsWith("/raw");
    (isRaw ? raw : open).add(socket);
    if (!isRaw) bridge.sessions++;
    socket.on("close", () => {
      open.delete(socket);
      raw.delete(socket);
      look();
    });
    socket.on("message", (data) => {
      if (isRaw) return;
      const command = JSON.parse(String(data));
      bridge.commands.push(command);
      void reply(socket, command).then(look);
    });
    look();
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = http.address();
  bridge.url = `ws://127.0.0.1:${port}/bridge`;
  bridge.rawUrl = `ws://127.0.0.1:${port}/raw`;
  return bridge;
}
