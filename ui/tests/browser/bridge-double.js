/** A scripted runtime behind a real WebSocket, for tests and the benchmark. */
import { createServer } from "node:http";

import { WebSocketServer } from "ws";

import { sampleAgent, sampleNode, sampleStatus } from "../../src/transports/samples.js";

/** Returns an agent as the runtime reports it. */
export const agentReport = (id, more) => sampleAgent({ id, ...more });

/** Starts the runtime. `/raw` is a plain socket that gets the same frames, without the bridge around them. */
export async function startBridge() {
  const http = createServer();
  const sockets = new WebSocketServer({ server: http });
  const open = new Set();
  const raw = new Set();
  const waiters = new Set();
  const bridge = {
    url: "",
    status: sampleStatus({ agents: [agentReport("planner"), agentReport("writer")] }),
    tree: sampleNode("/"),
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
  bridge.default = ({ type, action, agent, after }) => {
    if (type === "agent" && action === "listen") {
      const kept = bridge.updates.filter((push) => push.agent === agent);
      return { seq: after ?? kept.at(-1)?.update.seq ?? 0 };
    }
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
