// Checks that what a real runtime sends fits protocol.d.ts, with `tsc --strict`:
//
//   node --experimental-websocket ui/tests/types/check.mjs [PATH OF mainstay]
//
// The samples are every kind of event (crates/app/src/events/examples.jsonl), and with a program the replies, errors and
// pushes of `mainstay run`. Every command of the protocol is tried, and all but those of REFUSED succeed. Nothing is left behind.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROTOCOL = fileURLToPath(new URL("../../protocol.d.ts", import.meta.url));
const EXAMPLES = fileURLToPath(new URL("../../../crates/app/src/events/examples.jsonl", import.meta.url));
/** The time that the runtime has to start, and to answer all commands. */
const TIMEOUT_MS = 60_000;

const folder = realpathSync(mkdtempSync(join(tmpdir(), "mainstay-types-")));
const watched = join(folder, "watched");

/** A program that is an agent. It asks, stays silent, crashes or echoes, as its message says. */
const AGENT = `
const write = (line) => console.log(JSON.stringify(line));
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { type, id, body } = JSON.parse(line);
  if (type === "answer") return write({ type: "reply", id: asked, body });
  if (type !== "message" || body === "wait") return;
  if (body === "crash") process.exit(3);
  if (body !== "ask") return write({ type: "reply", id, body });
  asked = id;
  write({ type: "progress", id, percent: 50 });
  write({ type: "ask", ask: "a1", id, body: { question: "Go on?" } });
});
let asked;
`;

/**
 * A command, and what it waits for before the next one: its reply, unless it says otherwise.
 * @typedef {{ command: Record<string, unknown>, until?: (text: any) => boolean, before?: () => void }} Step
 */

/** @returns {Step} */
const step = (type, members = {}, until = undefined, before = undefined) => {
  const [name, action] = type.split(" ");
  return { command: { type: name, ...(action && { action }), ...members }, until, before };
};
const isRequestAccepted = (text) => "request" in text && "accepted" in text;
const planner = { agent: "planner" };
const writer = { agent: "writer" };
const upload = { method: "POST", path: "/api/echo", stream_body: true, headers: { "content-type": "text/plain" } };
/** The ids of the commands are their places here, counted from 0. */
const placeOf = (wanted) => STEPS.findIndex(({ command }) => command.path === wanted);

/** The commands, in turn. The reply to each is checked against the reply type of that command. */
const STEPS = [
  step("hello"),
  step("subscribe", { after: "0.0" }),
  step("connection listen"),
  step("files listen"),
  step("agent listen", planner),
  step("agent listen", { ...writer, after: 0 }),
  step("logs ids"),
  step("logs read", { log: "backend" }),
  step("logs listen", { log: "writer", lines: 20 }),
  step("status"),
  step("tree"),
  step("agents"),
  step("agent show", planner),
  step("agent show", { agent: "unknown" }),
  step("agent send", { ...planner, body: { text: "hello" }, timeout_ms: 10_000 }),
  step("agent send", { ...writer, body: "ask" }, (text) => text.update?.kind === "ask"),
  step("status"),
  step("agent answer", { ...writer, ask: "a1", body: "yes" }, (text) => text.update?.kind === "ended"),
  step("agent send", { ...writer, body: "wait" }, (text) => text.update?.kind === "sent"),
  step("agent cancel", { ...writer, message_id: 2 }),
  step("agent send", { ...writer, body: "crash" }),
  step("agent restart", writer),
  step("agent stop", writer),
  step("agent start", writer),
  step("agent reset", writer),
  step("agent login", writer),
  step("agent add", { agent: "added", config: { driver: "http", fail_after: 2 } }),
  step("agent listen", { agent: "added" }),
  step("agent remove", { agent: "added" }),
  step("incidents", { limit: 10 }),
  step("history at", { at: () => new Date().toISOString() }),
  step("history lanes"),
  step("connection show"),
  step("connection send", { text: "{\"type\":\"ping\"}", wait_timeout_ms: 5000 }, (text) => "frame" in text),
  step("connection send", { base64: "%" }),
  step("connection disconnect"),
  step("connection reconnect"),
  step("credentials reload"),
  step("cache show"),
  step("cache put", { key: "notes:a", value: { text: "hello" }, ttl_ms: 60_000 }),
  step("cache put", { key: "notes:b", base64: "AP8=" }),
  step("cache get", { key: "notes:a" }),
  step("cache get", { key: "notes:b" }),
  step("cache get", { key: "notes:c" }),
  step("cache file", { path: join(watched, "text.md") }),
  step("cache file", { path: join(watched, "bytes") }),
  step("cache file", { path: join(folder, "outside") }),
  step("cache search", { folder: watched, query: "**/*.md" }),
  step("cache invalidate", { by: "all" }),
  step("cache invalidate"),
  step("request", { method: "GET", path: "/api/agents/planner/health", headers: { accept: "application/json" } }),
  step("request", { method: "GET", path: "/nothing", retries: 0 }),
  step("request", { method: "GET", path: "//" }),
  step("request", { ...upload, path: "/api/echo?whole", progress: true }, isRequestAccepted),
  step("body write", { request: () => placeOf("/api/echo?whole"), base64: "aGVsbG8=" }),
  step("body end", { request: () => placeOf("/api/echo?whole") }),
  step("request", { ...upload, path: "/api/echo?broken" }, isRequestAccepted),
  step("requests show"),
  step("body abort", { request: () => placeOf("/api/echo?broken") }),
  step("request", { method: "GET", path: "/api/files/README.md", stream: true }, (text) => "end" in text),
  step("body ack", { request: () => placeOf("/api/files/README.md"), chunks: 1 }),
  step("requests cancel", { request_id: 1 }),
  step("requests prioritize", { request_id: 1, priority: "low" }),
  step("cancel", { request: 1 }),
  step("status", {}, (text) => "file" in text, () => writeFileSync(join(watched, "new"), "")),
  step("backend show"),
  step("backend stop"),
  step("backend start"),
  step("backend restart"),
  step("backend reset"),
  step("connection unlisten"),
  step("files unlisten"),
  step("logs unlisten", { log: "writer" }),
  step("agent unlisten", planner),
  // It comes first as well, until everything has started.
  step("ready"),
];
/** The commands that fail here: the agent is of no kind that logs in. */
const REFUSED = ["agent login"];

/** Returns the name of a command's row in `Replies`. */
const nameOf = ({ type, action }) => [type, action].filter(Boolean).join(" ");

/** Throws an error that names the commands of `Replies` for which `has` is false. */
function assertEvery(what, has) {
  const rows = /^export type Replies = \{$(.*?)^\};$/ms.exec(readFileSync(PROTOCOL, "utf8"))[1];
  const names = [...rows.matchAll(/^  "(.+?)":/gm)].map(([, name]) => name);
  if (names.length === 0) throw new Error("protocol.d.ts has no rows in Replies");
  const missing = names.filter((name) => !has(name));
  if (missing.length > 0) throw new Error(`${what}: ${missing.join(", ")}`);
}

/** Returns an event for each of the examples, which have only a kind and its fields. */
function exampleEvents() {
  const head = { run: 1, seq: 1, at: "2026-01-02T03:04:05.678Z", mono_ms: 1, actor: "root", generation: 1 };
  const lines = readFileSync(EXAMPLES, "utf8").split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => ({ ...head, ...JSON.parse(line) }));
}

/** Returns a port that is free now. */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Writes the configuration of a runtime with everything that a command needs. Returns its path. */
async function writeConfig(program) {
  const port = String(await freePort());
  const [config, token, agent] = ["mainstay.toml", "token", "agent.cjs"].map((name) => join(folder, name));
  mkdirSync(watched);
  for (const [path, content] of [
    [token, "secret-of-the-check"],
    [agent, AGENT],
    [join(folder, "outside"), ""],
    [join(watched, "text.md"), "hello"],
    [join(watched, "bytes"), Buffer.from([0, 0xff])],
  ]) {
    writeFileSync(path, content);
  }
  const backend = [program, "demo-backend", "--port", port, "--agents", "planner,added"];
  const sections = {
    "[backend]": {
      url: `http://127.0.0.1:${port}`,
      command: backend,
      ready: "stdout:listening on",
      token_file: token,
    },
    "[cache]": { watch: [watched] },
    "[agents]": { health_interval: "1s", restart_delay: "10ms" },
    "[[agent]]": { id: "planner" },
    "[[agent]] ": { id: "writer", driver: "process", command: [process.execPath, agent] },
  };
  // What is JSON here is TOML as well.
  const lines = Object.entries(sections).flatMap(([section, keys]) => [
    section,
    ...Object.entries(keys).map(([key, value]) => `${key} = ${JSON.stringify(value)}`),
  ]);
  writeFileSync(config, lines.join("\n"));
  return config;
}

/** Starts a runtime, and returns its address once it serves. */
async function startRuntime(program) {
  const data = join(folder, "data");
  const arguments_ = ["run", "--config", await writeConfig(program), "--data-dir", data];
  const runtime = spawn(program, arguments_, { stdio: ["ignore", "ignore", "inherit"] });
  process.once("exit", () => runtime.kill());
  process.once("SIGTERM", () => process.exit(1));
  const started = Date.now();
  while (Date.now() - started < TIMEOUT_MS) {
    try {
      const { port, token } = JSON.parse(readFileSync(join(data, "control.json"), "utf8"));
      return { runtime, url: `ws://127.0.0.1:${port}/bridge?token=${token}` };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  throw new Error("the runtime did not start in time");
}

/** Returns a command with its id. Its functions are called for the values of members that only the list knows. */
function commandText(id) {
  const members = Object.entries(STEPS[id].command);
  const values = members.map(([name, value]) => [name, typeof value === "function" ? value() : value]);
  return { id, ...Object.fromEntries(values) };
}

/** Sends all commands, one after the other, once the runtime is ready. Returns the texts that came. */
function talk(url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    const texts = [];
    const replies = new Set();
    let next = 0;
    let isReady = false;
    const names = (ids) => ids.map((id) => `${id} (${nameOf(STEPS[id].command)})`).join(", ");
    const timeout = setTimeout(() => {
      const silent = STEPS.map((_, id) => id).filter((id) => id < next && !replies.has(id));
      const last = next > 0 ? `; after command ${names([next - 1])} nothing fit` : "";
      reject(new Error(isReady ? `no reply to ${names(silent) || "none"}${last}` : "the runtime is not ready"));
    }, TIMEOUT_MS);
    const askReady = () => socket.send(JSON.stringify({ id: STEPS.length - 1, type: "ready" }));
    const send = () => {
      STEPS[next].before?.();
      socket.send(JSON.stringify(commandText(next)));
      next += 1;
    };
    socket.onopen = askReady;
    socket.onerror = () => reject(new Error("the socket failed"));
    socket.onmessage = ({ data }) => {
      const text = JSON.parse(data);
      texts.push(text);
      if (!isReady) {
        isReady = text.ok.is_ready;
        return isReady ? send() : setTimeout(askReady, 50);
      }
      if ("id" in text) replies.add(text.id);
      const { until } = STEPS[next - 1];
      const goesOn = until ? until(text) : text.id === next - 1;
      if (goesOn && next < STEPS.length) send();
      if (replies.size === STEPS.length) {
        clearTimeout(timeout);
        socket.close();
        resolve(texts);
      }
    };
  });
}

/** Returns the lines of a program that compiles if the texts fit their types. */
function linesFor(texts) {
  return texts.flatMap((text) => {
    const json = JSON.stringify(text);
    if (!("ok" in text)) return [`(${json}) satisfies ServerMessage;`];
    const { id, ...command } = commandText(text.id);
    const ok = JSON.stringify(text.ok);
    return [command.stream ? `(${ok}) satisfies ResponseStart;` : `reply(${JSON.stringify(command)}).is(${ok});`];
  });
}

const HEAD = `
import type {
  BridgeCommand, BridgeReply, CommandText, ErrorObject, EventKind, EventOf, EventRecord, Replies, ReplyOf, ResponseStart,
  ServerMessage,
} from "${PROTOCOL.replace(/\.d\.ts$/, "")}";
declare function reply<C extends BridgeCommand>(command: C): { is(reply: ReplyOf<C>): void };
declare function command<C extends BridgeCommand>(command: C): Promise<ReplyOf<C>>;
`;

/** Holds for every version: each command has a reply type, and unions differ by their members. */
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

try {
  const tried = new Set(STEPS.map(({ command }) => nameOf(command)));
  assertEvery("these commands are not tried here", (name) => tried.has(name));
  const events = exampleEvents();
  const lines = events.map((event) => `(${JSON.stringify(event)}) satisfies EventRecord;`);
  const kinds = JSON.stringify([...new Set(events.map((event) => event.kind))]);
  lines.push(`const kinds = ${kinds} as const;`, "const all: Equal<(typeof kinds)[number], EventKind> = true;");
  const program = process.argv[2];
  let texts = [];
  if (program) {
    const { runtime, url } = await startRuntime(program);
    const ended = new Promise((resolve) => runtime.once("exit", resolve));
    try {
      texts = await talk(url);
    } finally {
      runtime.kill("SIGTERM");
      await ended;
    }
    const done = new Set(texts.filter((text) => "ok" in text).map(({ id }) => nameOf(STEPS[id].command)));
    assertEvery("these commands did not succeed", (name) => done.has(name) !== REFUSED.includes(name));
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
