/**
 * Shows one element in one state: `?element=agents&state=failing&scheme=dark&dir=rtl`. Without a query, all links.
 */
import * as elements from "../src/elements/index.js";
import { agent, connection, createFake, live, queue, REFUSED } from "../tests/browser/fake-client.js";

const query = new URLSearchParams(location.search);
const root = document.documentElement;
const main = /** @type {HTMLElement} */ (document.querySelector("main"));
const soon = (/** @type {number} */ ms) => Date.now() + ms;
const DISK = { code: "SERVER_ERROR", reason: "crashed", retryable: false, attempts: 0, message: "The planner ended: out of memory." };
const HELD = {
  since: "2026-03-01T11:57:00Z", reason: "disconnected", failures: 2, next_probe_at: null, next_probe_in_ms: 4000,
  message: "The backend cannot be reached, so requests wait.",
};
const LIST = [
  { request_id: 17, method: "GET", path: "/api/search", priority: "high", phase: "running", attempts: 1, age_ms: 1200 },
  { request_id: 18, method: "POST", path: "/api/notes/import", priority: "normal", phase: "backing_off", attempts: 2, age_ms: 9400 },
  { request_id: 21, method: "PUT", path: "/api/notes/2026/03/a-note-with-a-long-name-that-needs-room", priority: "normal", phase: "waiting", attempts: 0, age_ms: 800 },
  { request_id: 22, method: "GET", path: "/api/suggestions", priority: "low", phase: "waiting", attempts: 0, age_ms: 300 },
];

/** @param {Partial<import("../src/errors.js").MainstayError>} parts */
const problem = (parts) => ({ ...REFUSED, ...parts });
const TIMED_OUT = problem({
  code: "TIMEOUT", reason: "timed_out", attempts: 3, requestId: 17,
  message: "The backend did not answer in time. Try again, or wait until it is less busy.",
  details: "no answer to GET /api/search within 30 s, 3 attempts",
});
const UNKNOWN = problem({
  reason: "outcome_unknown", retryable: false, requestId: 18,
  message: "It is not known whether the backend carried this out. Check before doing it again.",
  details: "connection_reset: the connection broke after the request was sent",
});
const FORBIDDEN = problem({
  code: "PERMISSION_DENIED", reason: "forbidden", retryable: false, status: 403,
  message: "The backend does not allow this. Ask its administrator for access.",
});

/**
 * @param {number} count
 * @param {number} [first]
 */
export function journal(count, first = 1) {
  const kinds = [
    { kind: "request_done", actor: "root/queue", method: "GET", path: "/api/notes", status: 200, ms: 41, cached: false, attempts: 1 },
    { kind: "agent_health", actor: "root/agents/planner", from: "starting", to: "healthy", misses: 0, error: null },
    { kind: "request_retry", actor: "root/queue", request_id: 18, method: "POST", path: "/api/notes/import", attempt: 2, delay_ms: 500, reason: "timed_out" },
    { kind: "actor_restarted", actor: "root/agents/coder", restarts: 1, delay_ms: 200 },
    { kind: "request_failed", actor: "root/queue", method: "GET", path: "/api/nothing", code: "NOT_FOUND", reason: "not_found", status: 404, ms: 12, attempts: 1 },
    { kind: "connection_state", actor: "root/connection", from: "connecting", to: "connected", attempt: 1, max: 5, reason: "opened" },
  ];
  const start = Date.parse("2026-03-01T12:00:00Z");
  return Array.from({ length: count }, (_, index) => ({
    run: 3, seq: first + index, at: new Date(start + index * 700).toISOString(), mono_ms: index * 700, generation: 1,
    ...kinds[(index * 7 + (index >> 3)) % kinds.length],
  }));
}

/** @param {string} kind @param {number} id @param {unknown} body */
const update = (kind, id, body) => ({ update: { kind, message_id: id, body } });
/** @param {number} id @param {string} text */
const chunk = (id, text) => update("message", id, { sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
const ANSWERED = [
  update("sent", 1, { text: "Which notes mention the harbour?" }),
  chunk(1, "Three notes mention it:\n\n1. Tides, of 3 March\n2. The crane, of 9 March\n3. A list of berths"),
  update("ended", 1, { answer: { stop_reason: "end_turn", text: "Three notes mention it:\n\n1. Tides, of 3 March\n2. The crane, of 9 March\n3. A list of berths" } }),
];
const ASK = { update: { kind: "ask", message_id: 2, ask: "a1", body: {
  toolCall: { title: "Delete 4 old drafts?" },
  options: [{ optionId: "allow", name: "Allow once", kind: "allow_once" }, { optionId: "always", name: "Always allow", kind: "allow_always" }, { optionId: "reject", name: "Reject", kind: "reject_once" }],
} } };

/** @typedef {{fake: ReturnType<typeof createFake>, make: (name: string, attributes?: Record<string, string>) => HTMLElement}} Stage */

/** @type {Record<string, Record<string, (stage: Stage) => void>>} */
export const STATES = {
  "connection-status": Object.fromEntries(Object.entries({
    connecting: { connection: connection({ state: "connecting", attempt: 1 }) },
    reconnecting: { connection: connection({ state: "reconnecting", attempt: 2, nextAttemptAt: soon(4600), error: REFUSED }) },
    dialling: { connection: connection({ state: "reconnecting", attempt: 3, error: REFUSED }) },
    failed: { connection: connection({ state: "failed", attempt: 5, error: REFUSED }) },
    disconnected: { connection: connection({ state: "disconnected", attempt: 0 }) },
    page: { isLive: false, session: { state: "waiting", since: 0, attempt: 3, nextAttemptAt: soon(7600), error: null } },
    back: { connection: connection({ state: "reconnecting", attempt: 2, nextAttemptAt: soon(4600), error: REFUSED }) },
  }).map(([name, parts]) => [name, ({ fake, make }) => {
    fake.set(parts);
    make("mainstay-connection-status", { grace: "0", linger: "60000" });
    if (name === "back") fake.set({ connection: connection() });
  }])),
  "error-toast": Object.fromEntries(Object.entries({
    error: () => void elements.toast(TIMED_OUT, { title: "Search" }),
    retry: () => void elements.toast(TIMED_OUT, { title: "Search", retry: () => new Promise(() => {}) }),
    folded: () => { for (let n = 0; n < 5; n++) elements.toast(TIMED_OUT, { title: "Search", retry: () => {} }); },
    unknown: () => void elements.toast(UNKNOWN),
    many: () => {
      for (const title of ["Import", "Rename", "Save"]) elements.toast(FORBIDDEN, { title });
      elements.toast(UNKNOWN);
      elements.toast(TIMED_OUT, { title: "Search", retry: () => {} });
    },
    details: () => void elements.toast(UNKNOWN),
    info: () => void elements.toast(problem({ code: "TIMEOUT", reason: "cancelled", retryable: false, message: "The request was cancelled. Send it again if it is still wanted." })),
  }).map(([name, show]) => [name, ({ make }) => {
    const { shadowRoot } = make("mainstay-error-toast", { duration: "600000" });
    show();
    const details = shadowRoot?.querySelector("details");
    if (name === "details" && details) details.open = true;
  }])),
  agents: Object.fromEntries(Object.entries({
    healthy: {},
    failing: { agents: Object.fromEntries([
      agent("planner", { messages_in_flight: 1 }),
      agent("coder", { status: "restarting", restarts: 2, budget_left: 3, restartAtMs: soon(7600), error: DISK, last_error: "x" }),
      agent("reviewer", { status: "degraded", misses: 1 }),
      agent("scribe", { status: "failed", gave_up: true, restarts: 5, budget_left: 0, error: DISK }),
      agent("tester", { status: "stopped" }),
      agent("reader", { status: "starting" }),
      agent("clerk", { status: "unknown" }),
      agent("critic", { questions: [{ ask: "a1", since: "", body: "May I?" }] }),
    ].map((one) => [one.id, one])) },
    old: { isLive: false },
    empty: { agents: {} },
    confirm: { agents: { planner: agent("planner", { messages_in_flight: 2 }) } },
  }).map(([name, parts]) => [name, ({ fake, make }) => {
    fake.set(parts);
    const { shadowRoot } = make("mainstay-agents");
    if (name === "confirm") /** @type {HTMLElement[]} */ ([...(shadowRoot?.querySelectorAll("button") ?? [])]).find((one) => one.textContent === "Stop")?.click();
  }])),
  "agent-conversation": Object.fromEntries(Object.entries({
    empty: [],
    answered: ANSWERED,
    streaming: [...ANSWERED, update("sent", 2, { text: "Clean up the old drafts, please." }), chunk(2, "I look through the drafts. There are four that nobody has opened for")],
    working: [...ANSWERED, update("sent", 2, { text: "Clean up the old drafts, please." }), update("progress", 2, { sessionUpdate: "tool_call", title: "Read drafts" })],
    question: [...ANSWERED, update("sent", 2, { text: "Clean up the old drafts, please." }), ASK],
    broken: [...ANSWERED, update("sent", 2, { text: "Clean up the old drafts, please." }), chunk(2, "I have found four of them and"), update("ended", 2, { error: UNKNOWN })],
    failed: [...ANSWERED, update("sent", 2, { text: "Clean up." }), update("ended", 2, { error: problem({ reason: "cancelled", code: "TIMEOUT" }) }),
      update("sent", 3, { text: "And now?" }), update("ended", 3, { error: TIMED_OUT })],
    text: [...ANSWERED, update("sent", 2, { text: "Rename the drawer." }), { update: { kind: "ask", message_id: 2, ask: "a2", body: { question: "What is its new name?" } } }],
  }).map(([name, items]) => [name, ({ fake, make }) => {
    make("mainstay-agent-conversation", { agent: "planner" });
    for (const item of items) fake.update(item);
  }])),
  requests: Object.fromEntries(Object.entries({
    open: [{ queue: queue({ running: 1, waiting: 3 }) }, LIST],
    held: [{ queue: queue({ running: 0, waiting: 2, held: HELD }) }, LIST.slice(2)],
    empty: [{}, []],
  }).map(([name, [parts, list]]) => [name, ({ fake, make }) => {
    fake.replies.list = () => list;
    fake.set(/** @type {Record<string, unknown>} */ (parts));
    make("mainstay-requests");
    fake.emit({ events: [{ kind: "request_retry", request_id: 18, delay_ms: 3600 }] });
  }])),
  events: Object.fromEntries(Object.entries({ empty: 0, some: 400, details: 60 }).map(([name, count]) => [name, ({ fake, make }) => {
    const element = make("mainstay-events");
    fake.emit({ events: journal(count), lagged: null });
    if (name !== "details") return;
    const choose = () => {
      const rows = /** @type {HTMLElement[]} */ ([...(element.shadowRoot?.querySelectorAll(".event") ?? [])]);
      if (rows.length > 12) rows.at(-9)?.click();
      else requestAnimationFrame(choose);
    };
    choose();
  }])),
};

/** Shows links to every state. */
function showIndex() {
  const nav = document.createElement("nav");
  for (const [element, states] of Object.entries(STATES)) {
    for (const state of Object.keys(states)) {
      const link = document.createElement("a");
      link.href = `?element=${element}&state=${state}`;
      link.textContent = `${element}: ${state}`;
      nav.append(link, document.createElement("br"));
    }
  }
  main.append(nav);
}

/**
 * @param {string} name
 * @param {string} state
 */
function show(name, state) {
  const fake = createFake(live());
  Object.assign(globalThis, { fake, toast: elements.toast, setText: elements.setText, journal });
  STATES[name]?.[state]?.({
    fake,
    make(tag, attributes = {}) {
      const element = document.createElement(tag);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      Object.assign(element, { client: fake.client });
      main.append(element);
      return element;
    },
  });
}

root.dataset.scheme = query.get("scheme") ?? "";
root.dir = query.get("dir") ?? "ltr";
const element = query.get("element");
if (element) show(element, query.get("state") ?? "");
else showIndex();
root.dataset.ready = "";
