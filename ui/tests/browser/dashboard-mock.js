/**
 * The dashboard over a scripted runtime: `?state=crash&scheme=dark`. This module runs before the page's own, which then finds
 * the client. `mock` is there for tests.
 */
import { connect } from "../../src/index.js";
import { createMock } from "../../src/transports/mock.js";
import { sampleNode, sampleStatus } from "../../src/transports/samples.js";

const query = new URLSearchParams(location.search);
document.documentElement.dataset.scheme = query.get("scheme") ?? "";
const state = query.get("state") ?? "calm";
const now = Date.now();
const iso = (/** @type {number} */ ms) => new Date(ms).toISOString();
const ago = (/** @type {number} */ seconds) => iso(now - seconds * 1000);
const MIB = 1_048_576;

const well = sampleStatus().verdict;
/** @type {Record<string, object>} */
const VERDICTS = {
  crash: {
    level: "warning",
    text: "planner restarts in 4 s (attempt 2 of 5)",
    finding: { type: "restarting", name: "planner", at: iso(now + 9_000), attempt: { number: 2, max: 5 }, more: 0 },
    requests_waiting: 0,
    action: { type: "restart_agent", id: "planner" },
  },
  away: {
    level: "warning",
    text: "The backend is away since 14:02; 3 requests wait",
    finding: { type: "backend_away", since: ago(134), next_probe_at: iso(now + 20_000) },
    requests_waiting: 3,
    action: { type: "reconnect" },
  },
  given_up: {
    level: "error",
    text: "coder is given up",
    finding: { type: "given_up", names: ["coder"], more: 0 },
    requests_waiting: 0,
    action: { type: "reset_agent", id: "coder" },
  },
  question: {
    level: "notice",
    text: "reviewer waits for your answer",
    finding: { type: "asks", name: "reviewer", ask: "a1", more: 0 },
    requests_waiting: 0,
    action: { type: "answer_agent", id: "reviewer", ask: "a1" },
  },
};
const count = Number(query.get("agents") ?? 3);
const names = ["planner", "coder", "reviewer", ...Array.from({ length: Math.max(0, count - 3) }, (_, n) => `worker-${n + 1}`)];

/** @param {string} path @param {object} [more] @param {object[]} [children] */
const node = (path, more = {}, children = []) => ({ ...sampleNode(path, ago(900), /** @type {never} */ (children)), ...more });

/** The members that a state gives to an agent and its node. @type {Record<string, Record<string, object>>} */
const AGENTS = {
  calm: { coder: { generation: 2, restarts: 1 } },
  crash: {
    planner: {
      status: "restarting",
      generation: 3,
      restarts: 2,
      attempts: 2,
      budget_left: 3,
      restart_at: iso(now + 9_000),
      last_error: "the agent reports that it failed",
    },
  },
  away: { planner: { own: "unknown" }, coder: { own: "unknown" }, reviewer: { own: "unknown" } },
  given_up: {
    coder: {
      status: "failed",
      gave_up: true,
      generation: 6,
      restarts: 5,
      attempts: 5,
      budget_left: 0,
      last_error: "exit code 1; its last line on stderr: ModuleNotFoundError: No module named 'tools'",
      next_step: "look into its log, then reset it",
    },
  },
  question: {},
  lost: {},
};

/** @param {string} id @param {number} index */
function agentOf(id, index) {
  const { own, attempts: _, ...more } = /** @type {Record<string, unknown>} */ (AGENTS[state]?.[id] ?? {});
  const status = own ?? { restarting: "restarting", failed: "failed" }[String(more.status)] ?? "healthy";
  return {
    id,
    generation: 1,
    process: { pid: 5001 + index, memory_bytes: (38 + ((index * 37) % 90)) * MIB },
    state_saved_at: ago(4),
    since: ago(300),
    messages_in_flight: index === 0 && state === "calm" ? 1 : 0,
    ...more,
    status,
  };
}
const MAILBOX = [0, 2, 0, 1];
const tree = node("root", { budget_left: 5 }, [
  node("root/backend", { budget_left: 5, generation: state === "away" ? 2 : 1 }),
  node("root/connection", { budget_left: 10 }),
  node("root/queue", { budget_left: 10, mailbox: state === "away" ? 3 : 0 }),
  node("root/cache", { budget_left: 10 }),
  node(
    "root/agents",
    { budget_left: 10 },
    names.map((id, index) => {
      const { own: _, gave_up: __, ...more } = /** @type {Record<string, unknown>} */ (AGENTS[state]?.[id] ?? {});
      return node(`root/agents/${id}`, { mailbox: MAILBOX[index % 4], ...more });
    }),
  ),
]);

/** The durations of 640 requests in 20 spans of 10 s. */
const spans = Array.from({ length: 20 }, (_, n) => ({
  from: ago(200 - n * 10),
  count: 32,
  failed: n % 7 === 3 ? 1 : 0,
  p50_ms: 30 + ((n * 7919) % 19),
  p95_ms: 70 + ((n * 104_729) % 83) + (n % 9 === 5 ? 160 : 0),
}));
const figures = { count: 640, failed: 3, total_ms: 31_000, p50_ms: 42, p95_ms: 277 };
const none = { count: 0, failed: 0, total_ms: 0, p50_ms: null, p95_ms: null };
const latency = { all: figures, by_priority: { high: none, normal: figures, low: none }, spans };
const verdict = VERDICTS[state] ?? well;
const isAway = state === "away";
const mock = createMock({
  keepEvents: 200_000,
  agents: /** @type {never} */ (names.map(agentOf)),
  tree: /** @type {never} */ (tree),
  status: /** @type {never} */ ({
    verdict,
    runtime: { run: 3, uptime_ms: 912_000, seq: 0 },
    backend: {
      status: "running",
      since: ago(900),
      pid: 4999,
      url: "http://127.0.0.1:8123",
      awaits: null,
      last_line: null,
      noisy: false,
      last_error: null,
      resolved_error: null,
      next_step: "kept running",
      gave_up: false,
      generation: 1,
      restarts: 0,
      budget_left: 5,
      budget: { max: 5, window_ms: 600_000, stable_after_ms: 60_000 },
      restart_at: null,
    },
    queue: { latency },
    ...(isAway && {
      connection: { state: "reconnecting", since: ago(134), attempt: 4, next_attempt_in_ms: 20_000, next_step: "is tried again" },
      queue: {
        latency,
        waiting: 3,
        by_priority: { high: 1, normal: 2, low: 0 },
        held: {
          since: ago(134),
          reason: "connection_refused",
          message: "The backend refuses connections. Start it, or wait for it.",
          waits_for_backend: false,
          failures: 6,
          next_probe_at: iso(now + 20_000),
          next_probe_in_ms: 20_000,
        },
      },
    }),
    cache: { entries: 214, bytes: 9_437_184, hits: 1810, stale_hits: 64, misses: 240, loads: 240, oldest_ms: 340_000, invalidated: 26 },
  }),
});

// === what happened ===

/** @type {{ kind: string, actor: string, fields: object }[]} */
const past = [{ kind: "runtime_started", actor: "root", fields: { pid: 4711, version: "0.1.0", boot: "boot1" } }];
for (const id of names.slice(0, 20))
  past.push({ kind: "agent_health", actor: `root/agents/${id}`, fields: { from: "starting", to: "healthy", misses: 0, error: null } });
past.push(
  { kind: "actor_exited", actor: "root/agents/coder", fields: { cause: "error", message: "exit code 1", location: null } },
  {
    kind: "decision",
    actor: "root/agents/coder",
    fields: { decision: "restart", delay_ms: 5000, attempt: 1, state: "checkpoint", budget: { used: 1, max: 5 }, scope: [] },
  },
  { kind: "actor_restarted", actor: "root/agents/coder", fields: { downtime_ms: 5004, state: "checkpoint", backlog: 2 } },
);
mock.pushEvents(past);
for (const [id, times] of Object.entries({ planner: [900, 1300, 700, 2400, 1100, 800], coder: [300, 280, 420, 390], reviewer: [4000, 5200, 3100] }))
  times.forEach((ms, index) => {
    const at = mock.events.at(-1);
    mock.pushEvents([
      { kind: "message_sent", actor: `root/agents/${id}`, fields: { message_id: index, attempt: 1, mono_ms: Number(at?.mono_ms) } },
      { kind: "message_answered", actor: `root/agents/${id}`, fields: { message_id: index, mono_ms: Number(at?.mono_ms) + ms } },
    ]);
  });

/** @param {string} actor @param {string} headline @param {object} more */
const incident = (actor, headline, more) => ({
  id: "3.70",
  actor,
  title: `${actor.split("/").at(-1)}: ${headline}`,
  started_at: ago(160),
  ended_at: null,
  lasted_ms: 0,
  actors: [actor],
  story: [`${actor.split("/").at(-1)}: ${headline}`],
  totals: {
    exits: 0,
    decisions: 0,
    restarts: 0,
    requests_held: 0,
    requests_retried: 0,
    requests_failed: 0,
    messages_redelivered: 0,
    messages_failed: 0,
    outcomes_unknown: 0,
    dead_letters: 0,
    ...("totals" in more ? /** @type {{ totals: object }} */ (more).totals : {}),
  },
  events: [],
  ...Object.fromEntries(Object.entries(more).filter(([name]) => name !== "totals")),
});
const POLICY =
  "restart after each exit, the first 5 s later, then up to 1 min (factor 2), at most 5 restarts in 10 min, then give up";
const coder = "root/agents/coder";
const planner = "root/agents/planner";
const healed = incident(coder, "ended with an error: exit code 1 (over after 5.0 s)", {
  id: "3.64",
  started_at: ago(220),
  ended_at: ago(215),
  lasted_ms: 5004,
  policy: POLICY,
  totals: { exits: 1, decisions: 1, restarts: 1, messages_redelivered: 2 },
  story: ["coder: ended with an error: exit code 1 (over after 5.0 s)", "Decision: restart in 5 s.", "It was over after 5.0 s."],
  output: ["Traceback (most recent call last):", '  File "coder.py", line 88, in run', "KeyError: 'branch'"],
  events: [
    { cursor: "3.64", at: ago(220), actor: coder, kind: "actor_exited", summary: "ended with an error: exit code 1" },
    { cursor: "3.65", at: ago(220), actor: coder, kind: "decision", summary: "decided: restart in 5 s, attempt 1 (1 of 5 restarts used)" },
    { cursor: "3.66", at: ago(215), actor: coder, kind: "actor_restarted", summary: "restarted after 5 s from its last checkpoint, and 2 messages waited" },
  ],
});
/** @type {Record<string, object[]>} */
const INCIDENTS = {
  crash: [
    incident(planner, "the agent's status changes from healthy to failed: The agent reports that it has failed. (not over)", {
      id: "3.81",
      started_at: ago(3),
      policy: POLICY,
      next_step: "it is restarted 10 s after its exit",
      totals: { exits: 1, decisions: 1, messages_redelivered: 1 },
      events: [
        { cursor: "3.81", at: ago(3), actor: planner, kind: "agent_health", summary: "the agent's status changes from healthy to failed" },
        { cursor: "3.82", at: ago(3), actor: planner, kind: "actor_exited", summary: "ended with an error: the agent reports that it failed" },
        { cursor: "3.83", at: ago(3), actor: planner, kind: "decision", summary: "decided: restart in 10 s, attempt 2 (2 of 5 restarts used)" },
      ],
    }),
  ],
  away: [
    incident("root/connection", "the connection changes from connected to reconnecting: The backend refuses connections. (not over)", {
      id: "3.90",
      started_at: ago(134),
      totals: { requests_held: 3, requests_retried: 2 },
      next_step: "the connection is tried again in 20 s",
      events: [
        { cursor: "3.90", at: ago(134), actor: "root/connection", kind: "connection_state", summary: "the connection changes from connected to reconnecting, attempt 1 of 5" },
        { cursor: "3.91", at: ago(133), actor: "root/queue", kind: "queue_held", summary: "the queue holds 3 requests, next probe in 1 s: connection refused" },
      ],
    }),
  ],
  given_up: [
    incident(coder, "given up after 5 restarts: No module named 'tools' (not over)", {
      id: "3.95",
      started_at: ago(90),
      policy: POLICY,
      next_step: "look into its log, then reset it",
      totals: { exits: 6, decisions: 6, restarts: 5, messages_failed: 1, outcomes_unknown: 1 },
      output: ["Traceback (most recent call last):", '  File "coder.py", line 3, in <module>', "ModuleNotFoundError: No module named 'tools'"],
      events: [
        { cursor: "3.95", at: ago(90), actor: coder, kind: "process_exited", summary: "process 5002 has ended without a request: it exited with code 1" },
        { cursor: "3.96", at: ago(90), actor: coder, kind: "actor_exited", summary: "ended with an error: exit code 1" },
        { cursor: "3.97", at: ago(90), actor: coder, kind: "decision", summary: "decided: restart in 5 s, attempt 1 (1 of 5 restarts used)" },
        { cursor: "3.99", at: ago(12), actor: coder, kind: "gave_up", summary: "given up after 5 restarts (exit code 1): reset the agent" },
      ],
    }),
  ],
};
mock.incidents = /** @type {never} */ (query.has("empty") ? [] : [...(INCIDENTS[state] ?? []), healed]);
mock.logs.set("planner", Array.from({ length: 40 }, (_, n) => ({ at: ago(200 - n * 4), stream: n % 13 === 12 ? "err" : "out", text: n % 13 === 12 ? `warning: tool call ${n} was slow` : `step ${n}: read docs/tides.md` })));
mock.on("requests.show", () =>
  isAway
    ? [
        { request_id: 71, method: "POST", path: "/api/echo", priority: "high", phase: "waiting", attempts: 1, age_ms: 130_000 },
        { request_id: 72, method: "GET", path: "/api/search?q=tides", priority: "normal", phase: "waiting", attempts: 0, age_ms: 61_000 },
        { request_id: 73, method: "GET", path: "/api/files/README.md", priority: "normal", phase: "waiting", attempts: 0, age_ms: 12_000 },
      ]
    : [],
);

// === lanes and moments, as the runtime folds them ===

/** @param {string} actor */
function spansOf(actor) {
  const began = now - 900_000;
  const end = (/** @type {object[]} */ ...spans) => ({ spans, marks: /** @type {object[]} */ ([]) });
  const span = (/** @type {number} */ from, /** @type {number | null} */ to, /** @type {string} */ state) => ({ from: iso(from), to: to == null ? null : iso(to), state });
  const mark = (/** @type {number} */ at, /** @type {string} */ kind, /** @type {string} */ summary) => ({ at: iso(at), cursor: `3.${Math.round(at - began)}`, kind, summary });
  if (actor === coder) {
    const exit = now - 220_000;
    const up = exit + 5000;
    const lane = end(span(began, began + 900, "starting"), span(began + 900, exit, "up"), span(exit, up, "restarting"));
    lane.marks.push(mark(exit, "actor_exited", "ended with an error: exit code 1"), mark(exit + 1, "decision", "decided: restart in 5 s"));
    if (state !== "given_up") return { ...lane, spans: [...lane.spans, span(up, null, "up")] };
    let at = now - 90_000;
    lane.spans.push(span(up, at, "up"));
    for (let n = 0; n < 5; n++) {
      const delay = 3000 * 1.6 ** n;
      lane.marks.push(mark(at, "actor_exited", "ended with an error: exit code 1"), mark(at + 1, "decision", `decided: restart, attempt ${n + 1}`));
      lane.spans.push(span(at, at + delay, "restarting"), span(at + delay, at + delay + 2500, "up"));
      at += delay + 2500;
    }
    lane.marks.push(mark(at, "gave_up", "given up after 5 restarts"));
    lane.spans.push(span(at, null, "given_up"));
    return lane;
  }
  if (actor === planner && state === "crash") {
    const first = now - 64_000;
    const exit = now - 3000;
    const lane = end(
      span(began, first, "up"),
      span(first, first + 5000, "restarting"),
      span(first + 5000, exit - 9000, "up"),
      span(exit - 9000, exit, "degraded"),
      span(exit, null, "restarting"),
    );
    for (const at of [first, exit]) lane.marks.push(mark(at, "actor_exited", "ended with an error"), mark(at + 1, "decision", "decided: restart"));
    return lane;
  }
  if (isAway && (actor === "root/connection" || actor.startsWith("root/agents/")))
    return end(span(began, now - 134_000, "up"), span(now - 134_000, null, actor === "root/connection" ? "down" : "degraded"));
  return end(span(began, began + 400, "starting"), span(began + 400, null, "up"));
}
/** @param {{ path: string, children: object[] }} root @returns {string[]} */
const pathsOf = (root) => [root.path, ...root.children.flatMap((child) => pathsOf(/** @type {never} */ (child)))];
mock.on("history.lanes", ({ from, to }) => ({
  from: from ?? iso(now - 900_000),
  to: to ?? iso(Date.now()),
  lanes: pathsOf(mock.tree).map((actor) => ({ actor, ...spansOf(actor) })),
  lanes_left_out: 0,
  runs: [{ run: 3, from: iso(now - 900_000), to: null }],
}));
mock.on("history.at", ({ at }) => {
  const time = Date.parse(String(at));
  /** @param {{ path: string, children: never[] }} each @returns {object} */
  const then = (each) => {
    const span = spansOf(each.path).spans.find(
      ({ from, to }) => Date.parse(from) <= time && (to == null || Date.parse(to) > time),
    );
    return {
      path: each.path,
      name: each.path.split("/").at(-1),
      state: span?.state ?? "up",
      since: span?.from ?? iso(time),
      generation: 1,
      restarts: 0,
      attempt: null,
      restart_at: span?.state === "restarting" ? (span.to ?? null) : null,
      last_error: span?.state === "restarting" ? "exit code 1" : null,
      children: each.children.map(then),
    };
  };
  const isDown = time >= now - 220_000 && time < now - 215_000;
  return {
    at: iso(time),
    cursor: "3.64",
    tree: then(/** @type {never} */ (mock.tree)),
    verdict: isDown
      ? {
          level: "warning",
          text: "coder restarts in 5 s (attempt 1 of 5)",
          finding: { type: "restarting", name: "coder", at: iso(now - 215_000), attempt: { number: 1, max: 5 }, more: 0 },
          requests_waiting: 0,
          action: null,
        }
      : well,
  };
});
mock.on("hello", () => ({
  protocol: 1,
  version: "0.1.0",
  run: 3,
  boot: "boot1",
  now: iso(Date.now()),
  capabilities: [],
  ...(query.has("demo") && { demo: true }),
}));
if (state === "question") {
  mock.agentUpdate("reviewer", {
    kind: "ask",
    ask: "a1",
    body: { question: "May I delete the 12 files in build/?", options: [{ optionId: "yes", name: "Delete them" }, { optionId: "no", name: "Keep them" }] },
  });
}
const client = connect({ mock });
Object.assign(globalThis, { mock, mockClient: client });
// A new link is silent as well.
if (state === "lost") setInterval(() => mock.halfOpen(), 700);
