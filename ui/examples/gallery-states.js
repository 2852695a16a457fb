/**
 * What each element is shown with: plain data, from which a page makes a runtime.
 *
 * @typedef {import("../protocol.d.ts").AgentUpdate} AgentUpdate
 * @typedef {import("../protocol.d.ts").AgentView} AgentView
 * @typedef {import("../src/elements/error-toast.js").ToastOptions} ToastOptions
 * @typedef {object} GalleryState
 * @property {Record<string, unknown>} [connection] what differs in the connection
 * @property {Record<string, unknown>} [queue] what differs in the queue
 * @property {(Partial<AgentView> & {id: string})[]} [agents]
 * @property {unknown[]} [list] the requests that have not ended
 * @property {number} [retry] the milliseconds until request 18 is sent again
 * @property {Partial<AgentUpdate>[]} [updates] of the planner
 * @property {number} [events]
 * @property {[unknown, ToastOptions?][]} [toasts]
 * @property {boolean} [isLost] without a session
 * @property {Record<string, string>} [attributes]
 * @property {boolean} [heals] the connection comes back
 * @property {string} [click] the text of what is clicked at last
 */

const REFUSED = {
  code: "NETWORK_ERROR",
  reason: "connection_refused",
  retryable: true,
  attempts: 0,
  message: "The backend is not accepting connections. Check that it is running, then try again.",
};
const TIMED_OUT = {
  code: "TIMEOUT",
  reason: "timed_out",
  retryable: true,
  attempts: 3,
  request_id: 17,
  message: "The backend did not answer in time. Try again, or wait until it is less busy.",
  details: "no answer to GET /api/search within 30 s",
};
const UNKNOWN = {
  code: "NETWORK_ERROR",
  reason: "outcome_unknown",
  retryable: false,
  attempts: 1,
  request_id: 18,
  message: "It is not known whether the backend carried this out. Check before doing it again.",
  details: "connection_reset: the connection broke after the request was sent",
};
const FORBIDDEN = {
  code: "PERMISSION_DENIED",
  reason: "forbidden",
  retryable: false,
  attempts: 1,
  status: 403,
  message: "The backend does not allow this. Ask its administrator for access.",
};
const CANCELLED = {
  code: "TIMEOUT",
  reason: "cancelled",
  retryable: false,
  attempts: 0,
  message: "The request was cancelled. Send it again if it is still wanted.",
};
const FAILED = /** @type {AgentView["error"]} */ (
  /** @type {unknown} */ ({
    code: "SERVER_ERROR",
    reason: "agent_failed",
    retryable: false,
    attempts: 0,
    message: "The agent has exited: out of memory.",
  })
);
const HELD = {
  since: "2026-03-01T11:57:00.000Z",
  reason: "disconnected",
  failures: 2,
  next_probe_at: new Date(Date.now() + 4600).toISOString(),
  next_probe_in_ms: 4600,
  message: "The backend cannot be reached, so requests wait.",
  waits_for_backend: false,
};
const LIST = [
  {
    request_id: 17,
    method: "GET",
    path: "/api/search",
    priority: "high",
    phase: "running",
    attempts: 1,
    age_ms: 1200,
  },
  {
    request_id: 18,
    method: "POST",
    path: "/api/notes/import",
    priority: "normal",
    phase: "backing_off",
    attempts: 2,
    age_ms: 9400,
  },
  {
    request_id: 21,
    method: "PUT",
    path: "/api/notes/2026/03/a-note-with-a-long-name-that-needs-room",
    priority: "normal",
    phase: "waiting",
    attempts: 0,
    age_ms: 800,
  },
  {
    request_id: 22,
    method: "GET",
    path: "/api/suggestions",
    priority: "low",
    phase: "waiting",
    attempts: 0,
    age_ms: 300,
  },
];

const PROMPT = "Clean up the old drafts, please.";
const NOTES =
  "Three notes mention it:\n\n1. Tides, of 3 March\n2. The crane, of 9 March\n3. A list of berths";
/** @param {AgentUpdate["kind"]} kind @param {number} id @param {unknown} body */
const update = (kind, id, body) => ({
  kind,
  message_id: id,
  body: /** @type {AgentUpdate["body"]} */ (body),
});
/** @param {number} id @param {string} text */
const chunk = (id, text) =>
  update("message", id, { sessionUpdate: "agent_message_chunk", content: { type: "text", text } });
/** @param {number} id @param {unknown} body */
const ask = (id, body) => ({ ...update("ask", id, body), ask: `a${id}` });
const ANSWERED = [
  update("sent", 1, { text: "Which notes mention the harbour?" }),
  chunk(1, NOTES),
  update("ended", 1, { answer: { stop_reason: "end_turn", text: NOTES } }),
];
const SECOND = [...ANSWERED, update("sent", 2, { text: PROMPT })];
const OPTIONS = [
  { optionId: "allow", name: "Allow once", kind: "allow_once" },
  { optionId: "always", name: "Always allow", kind: "allow_always" },
  { optionId: "reject", name: "Reject", kind: "reject_once" },
];
const LOST = { state: "reconnecting", attempt: 2, next_attempt_in_ms: 4600, error: REFUSED };
const BANNER = { grace: "0", linger: "600000" };
/** @type {ToastOptions} */
const SEARCH = { title: "Search", retry: () => new Promise(() => {}) };

/** @type {Record<string, Record<string, GalleryState>>} */
export const STATES = {
  "connection-status": {
    connecting: { connection: { state: "connecting", attempt: 1 }, attributes: BANNER },
    reconnecting: { connection: LOST, attributes: BANNER },
    dialling: { connection: { ...LOST, attempt: 3, next_attempt_in_ms: null }, attributes: BANNER },
    failed: {
      connection: { ...LOST, state: "failed", attempt: 5, next_attempt_in_ms: null },
      attributes: BANNER,
    },
    disconnected: { connection: { state: "disconnected", attempt: 0 }, attributes: BANNER },
    page: { isLost: true, attributes: BANNER },
    back: { connection: LOST, attributes: BANNER, heals: true },
    inline: { connection: LOST, attributes: { ...BANNER, placement: "inline" } },
  },
  "error-toast": {
    error: { toasts: [[TIMED_OUT, { title: "Search" }]] },
    retry: { toasts: [[TIMED_OUT, SEARCH]] },
    folded: { toasts: Array.from({ length: 5 }, () => [TIMED_OUT, SEARCH]) },
    unknown: { toasts: [[UNKNOWN]] },
    many: {
      toasts: [
        ...["Import", "Rename", "Save"].map(
          (title) => /** @type {[unknown, ToastOptions]} */ ([FORBIDDEN, { title }]),
        ),
        [UNKNOWN],
        [TIMED_OUT, SEARCH],
      ],
    },
    details: { toasts: [[UNKNOWN]], click: "Details" },
    info: { toasts: [[CANCELLED]] },
  },
  agents: {
    healthy: {},
    failing: {
      agents: [
        { id: "planner", messages_in_flight: 1, state_saved_at: new Date().toISOString() },
        {
          id: "coder",
          status: "restarting",
          restarts: 2,
          budget_left: 3,
          restart_at: new Date(Date.now() + 7600).toISOString(),
          error: FAILED,
        },
        { id: "reviewer", status: "degraded", misses: 1 },
        { id: "writer", status: "failed", gave_up: true, restarts: 5, budget_left: 0, error: FAILED },
        { id: "tester", status: "stopped" },
        { id: "reader", status: "starting" },
        { id: "clerk", status: "unknown" },
        { id: "critic", questions: [{ ask: "a1", since: "2026-03-01T11:57:00.000Z", body: "May I?" }] },
      ],
    },
    long: {
      agents: Array.from({ length: 300 }, (_, at) => ({
        id: `agent-${at}`,
        ...(at % 90 === 40 && { status: /** @type {const} */ ("failed"), gave_up: true, budget_left: 0, restarts: 5, error: FAILED }),
      })),
    },
    old: { isLost: true },
    empty: { agents: [] },
    confirm: { agents: [{ id: "planner", messages_in_flight: 2 }], click: "Stop" },
  },
  "agent-conversation": {
    empty: {},
    answered: { updates: ANSWERED },
    streaming: {
      updates: [...SECOND, chunk(2, "I look through the drafts. There are four that have not been opened for")],
    },
    working: {
      updates: [...SECOND, update("progress", 2, { sessionUpdate: "tool_call", title: "Read drafts" })],
    },
    question: {
      updates: [...SECOND, ask(2, { toolCall: { title: "Delete 4 old drafts?" }, options: OPTIONS })],
    },
    broken: {
      updates: [...SECOND, chunk(2, "I have found four of them and"), update("ended", 2, { error: UNKNOWN })],
    },
    failed: {
      updates: [
        ...SECOND,
        update("ended", 2, { error: CANCELLED }),
        update("sent", 3, { text: "And now?" }),
        update("ended", 3, { error: TIMED_OUT }),
      ],
    },
    text: { updates: [...SECOND, ask(2, { question: "What is the new name of the drawer?" })] },
  },
  requests: {
    open: { queue: { running: 1, waiting: 3 }, list: LIST, retry: 3600 },
    held: { queue: { running: 0, waiting: 2, held: HELD }, list: LIST.slice(2) },
    empty: { list: [] },
  },
  events: {
    empty: { events: 0 },
    some: { events: 400 },
    details: { events: 60, click: ".event:nth-last-child(4)" },
  },
  devtools: {
    state: {},
    agents: { click: "Agents" },
    events: { events: 60, click: "Events" },
    lost: { isLost: true },
  },
};

/**
 * Returns events for a journal.
 * @param {number} count
 */
export function journal(count) {
  const kinds = [
    {
      kind: "request_done",
      actor: "root/queue",
      fields: { request_id: 17, method: "GET", path: "/api/notes", status: 200, ms: 41, cached: false, attempts: 1 },
    },
    {
      kind: "agent_health",
      actor: "root/agents/planner",
      fields: { from: "starting", to: "healthy", misses: 0, error: null },
    },
    {
      kind: "request_retry",
      actor: "root/queue",
      fields: {
        request_id: 18,
        method: "POST",
        path: "/api/notes/import",
        attempt: 2,
        delay_ms: 500,
        reason: "timed_out",
      },
    },
    {
      kind: "actor_restarted",
      actor: "root/agents/coder",
      fields: { downtime_ms: 200, state: "checkpoint", backlog: 0 },
    },
    {
      kind: "request_failed",
      actor: "root/queue",
      fields: {
        request_id: 19,
        method: "GET",
        path: "/api/nothing",
        code: "NOT_FOUND",
        reason: "not_found",
        status: 404,
        ms: 12,
        attempts: 1,
      },
    },
    {
      kind: "connection_state",
      actor: "root/connection",
      fields: { from: "connecting", to: "connected", attempt: 1, max: 5, reason: "opened" },
    },
  ];
  return Array.from({ length: count }, (_, index) => kinds[(index * 7 + (index >> 3)) % kinds.length]);
}
