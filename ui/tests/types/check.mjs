// Checks that what a real runtime sends fits protocol.d.ts, with `tsc --strict`:
//
//   node --experimental-websocket ui/tests/types/check.mjs [PATH OF mainstay]
//
// The samples are every kind of event (crates/app/src/events/examples.jsonl), and with a program the replies, errors and
// pushes of `mainstay demo`. Nothing is left behind.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROTOCOL = fileURLToPath(new URL("../../protocol.d.ts", import.meta.url));
const EXAMPLES = fileURLToPath(new URL("../../../crates/app/src/events/examples.jsonl", import.meta.url));
/** The time that the runtime has to start, and to answer all commands. */
const TIMEOUT_MS = 60_000;

/** The commands, in turn. The reply to each is checked against the reply type of that command. */
const COMMANDS = [
  { type: "subscribe", after: "0.0" },
  { type: "agent", agent: "planner", action: "listen" },
  { type: "connection", action: "listen" },
  { type: "logs", action: "listen", log: "planner", lines: 20 },
  { type: "files", action: "listen" },
  { type: "status" },
  { type: "tree" },
  { type: "agents" },
  { type: "agent", agent: "planner", action: "show" },
  { type: "agent", agent: "planner", action: "send", body: { text: "hello" }, timeout_ms: 10_000 },
  { type: "agent", agent: "planner", action: "cancel", message_id: 1 },
  { type: "agent", agent: "planner", action: "restart" },
  { type: "agent", agent: "nobody", action: "show" },
  { type: "backend", action: "show" },
  { type: "connection", action: "show" },
  { type: "connection", action: "reconnect" },
  { type: "connection", action: "send", text: "{\"type\":\"ping\"}", wait_timeout_ms: 5000 },
  { type: "credentials", action: "reload" },
  { type: "cache", action: "show" },
  { type: "cache", action: "invalidate", by: "all" },
  { type: "cache", action: "invalidate" },
  { type: "logs", action: "read", log: "planner" },
  { type: "request", method: "GET", path: "/api/agents/planner/health", headers: { accept: "application/json" } },
  { type: "request", method: "GET", path: "/nothing", retries: 0 },
  { type: "request", method: "GET", path: "//" },
  { type: "requests", action: "show" },
  { type: "requests", action: "cancel", request_id: 1 },
  { type: "requests", action: "prioritize", request_id: 1, priority: "low" },
  { type: "cancel", request: 1 },
  { type: "connection", action: "unlisten" },
  { type: "files", action: "unlisten" },
  { type: "logs", action: "unlisten", log: "planner" },
  { type: "agent", agent: "planner", action: "unlisten" },
];

/** Returns an event for each of the examples, which have only a kind and its fields. */
function exampleEvents() {
  const head = { run: 1, seq: 1, at: "2026-01-02T03:04:05.678Z", mono_ms: 1, actor: "root", generation: 1 };
  const lines = readFileSync(EXAMPLES, "utf8").split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => ({ ...head, ...JSON.parse(line) }));
}

/** Starts a demo, and returns its address once it serves. */
async function startDemo(program, folder) {
  const demo = spawn(program, ["demo", "--data-dir", folder, "--for", "2m"], { stdio: "ignore" });
  const started = Date.now();
  while (Date.now() - started < TIMEOUT_MS) {
    try {
      const { port, token } = JSON.parse(readFileSync(join(folder, "control.json"), "utf8"));
      return { demo, url: `ws://127.0.0.1:${port}/bridge?token=${token}` };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  demo.kill();
  throw new Error("the demo did not start in time");
}

/** Sends all commands, one after the other. Returns the texts that came. */
function talk(url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    const texts = [];
    const timeout = setTimeout(() => reject(new Error(`no reply to command ${next}`)), TIMEOUT_MS);
    let next = 0;
    const send = () => {
      if (next === COMMANDS.length) {
        clearTimeout(timeout);
        socket.close();
        return resolve(texts);
      }
      socket.send(JSON.stringify({ id: next, ...COMMANDS[next] }));
      next += 1;
    };
    socket.onopen = send;
    socket.onerror = () => reject(new Error("the socket failed"));
    socket.onmessage = ({ data }) => {
      const text = JSON.parse(data);
      texts.push(text);
      if (text.id === next - 1) send();
    };
  });
}

/** Returns the lines of a program that compiles if the texts fit their types. */
function linesFor(texts) {
  return texts.flatMap((text) => {
    const json = JSON.stringify(text);
    if (!("ok" in text)) return [`(${json}) satisfies ServerMessage;`];
    const command = JSON.stringify(COMMANDS[text.id]);
    return [`reply(${command}).is(${JSON.stringify(text.ok)});`];
  });
}

const HEAD = `
import type {
  BridgeCommand, BridgeReply, CommandText, ErrorObject, EventKind, EventOf, EventRecord, Replies, ReplyOf, ServerMessage,
} from "${PROTOCOL.replace(/\.d\.ts$/, "")}";
declare function reply<C extends BridgeCommand>(command: C): { is(reply: ReplyOf<C>): void };
declare function command<C extends BridgeCommand>(command: C): Promise<ReplyOf<C>>;
`;

/** Holds for every version: each command has a reply type, and unions are told apart by their members. */
const RULES = `
type Equal<A, B> = [A, B] extends [B, A] ? true : false;
const everyReplyIsTheReplyOfSomeCommand: Equal<ReplyOf<BridgeCommand>, BridgeReply> = true;
const noMemberIsAny: Equal<0 extends 1 & ReplyOf<BridgeCommand> ? true : false, false> = true;
async function replies() {
  (await command({ type: "status" })).connection.state satisfies string;
  (await command({ type: "agent", agent: "a", action: "send", body: 1 })).message_id satisfies number;
  (await command({ type: "files", action: "listen" })) satisfies null;
  // @ts-expect-error There is no such command.
  await command({ type: "nothing" });
  // @ts-expect-error A request needs a path.
  await command({ type: "request", method: "GET" });
}
function errors(error: ErrorObject) {
  if (error.reason === "timed_out") error.code satisfies "TIMEOUT";
  // @ts-expect-error No code has this name.
  if (error.code === "OTHER") return;
  if (error.code === "NOT_FOUND") error.reason satisfies "not_found" | "gone" | "agent_unknown" | "outcome_unknown" | "other";
}
function events(event: EventRecord) {
  if (event.kind === "actor_ready") event.start_ms satisfies number;
  // @ts-expect-error This kind has no such field.
  if (event.kind === "actor_ready") event.pid;
}
function pushes(message: ServerMessage) {
  if ("events" in message) message.events satisfies EventRecord[];
  if ("update" in message) message.update.kind satisfies string;
  if ("error" in message) message.error satisfies ErrorObject;
}
`;

const folder = mkdtempSync(join(tmpdir(), "mainstay-types-"));
try {
  const events = exampleEvents();
  const lines = events.map((event) => `(${JSON.stringify(event)}) satisfies EventRecord;`);
  const kinds = JSON.stringify([...new Set(events.map((event) => event.kind))]);
  lines.push(`const kinds = ${kinds} as const;`, "const all: Equal<(typeof kinds)[number], EventKind> = true;");
  const program = process.argv[2];
  let texts = [];
  if (program) {
    const { demo, url } = await startDemo(program, join(folder, "data"));
    const ended = new Promise((resolve) => demo.once("exit", resolve));
    try {
      texts = await talk(url);
    } finally {
      demo.kill("SIGTERM");
      await ended;
    }
    lines.push(...linesFor(texts));
  }
  const file = join(folder, "samples.ts");
  writeFileSync(file, [HEAD, RULES, ...lines].join("\n"));
  const options = ["--ignoreConfig", "--strict", "--noEmit", "--target", "es2022", "--module", "preserve", "--types", ""];
  execFileSync("npx", ["--yes", "-p", "typescript", "tsc", ...options, file, PROTOCOL], { stdio: "inherit" });
  console.log(`${events.length} events and ${texts.length} texts of a session fit their types`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
