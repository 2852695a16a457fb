/** Reports of a runtime in which all is well. The mock begins with them, and so do the doubles of the tests. */

/**
 * @typedef {import("../../protocol.d.ts").AgentView} AgentView
 * @typedef {import("../../protocol.d.ts").ConnectionReport} ConnectionReport
 * @typedef {StatusReport["queue"]} QueueReport
 * @typedef {import("../../protocol.d.ts").StatusReport} StatusReport
 * @typedef {import("../../protocol.d.ts").TreeNode} TreeNode
 */

const SINCE = "2026-03-01T11:57:00.000Z";

/**
 * Returns a healthy agent.
 * @param {Partial<AgentView>} [members]
 * @param {string} [since]
 * @returns {AgentView}
 */
export const sampleAgent = (members, since = SINCE) => ({
  id: "planner",
  driver: "http",
  status: "healthy",
  since,
  misses: 0,
  last_check: since,
  error: null,
  uptime_s: 1,
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
  budget: { max: 5, window_ms: 600_000, stable_after_ms: 60_000 },
  restart_at: null,
  last_error: null,
  resolved_error: null,
  fail_after: 3,
  next_step: "checked regularly",
  noisy: false,
  ...members,
});

/**
 * Returns an open connection.
 * @param {string} [since]
 * @returns {ConnectionReport}
 */
export const sampleConnection = (since = SINCE) => ({
  state: "connected",
  since,
  attempt: 1,
  max: 5,
  next_attempt_at: null,
  next_attempt_in_ms: null,
  next_step: "kept open",
  last_error: null,
  error: null,
  last_error_at: null,
});

/** @returns {import("../../protocol.d.ts").LatencyFigures} */
const noFigures = () => ({ count: 0, failed: 0, total_ms: 0, p50_ms: null, p95_ms: null });

/**
 * Returns an empty queue.
 * @returns {QueueReport}
 */
export const sampleQueue = () => ({
  waiting: 0,
  backing_off: 0,
  running: 0,
  slow: 0,
  max_concurrent: 5,
  by_priority: { high: 0, normal: 0, low: 0 },
  groups: [],
  latency: {
    all: noFigures(),
    by_priority: { high: noFigures(), normal: noFigures(), low: noFigures() },
    spans: [],
  },
  held: null,
});

/**
 * Returns a status.
 * @param {Partial<StatusReport>} [members]
 * @param {string} [since]
 * @returns {StatusReport}
 */
export const sampleStatus = (members, since = SINCE) => ({
  runtime: { run: 1, boot: "boot1", pid: 4711, uptime_ms: 0, seq: 0 },
  connection: sampleConnection(since),
  queue: sampleQueue(),
  cache: {
    entries: 0,
    bytes: 0,
    bytes_max: 67_108_864,
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
  agents: [sampleAgent({}, since)],
  storage: { journal: "ok", state: "ok", logs: "ok" },
  verdict: { level: "ok", text: "All is well", finding: { type: "well" }, requests_waiting: 0, action: null },
  ...members,
});

/**
 * Returns a node of the tree.
 * @param {string} path
 * @param {string} [since]
 * @param {TreeNode[]} [children]
 * @returns {TreeNode}
 */
export const sampleNode = (path, since = SINCE, children = []) => ({
  path,
  kind: children.length ? "supervisor" : "worker",
  status: "running",
  since,
  generation: 1,
  restarts: 0,
  restart_at: null,
  attempts: 0,
  budget_left: 5,
  last_error: null,
  last_error_at: null,
  next_step: null,
  abandoned: 0,
  mailbox: 0,
  children,
});
