/**
 * Events as sentences. Each kind has an entry `event-KIND` in the table of texts; one without an entry is shown by its
 * fields.
 *
 * @typedef {Record<string, unknown>} Fields
 */
import { addText, text } from "./text.js";
import { spanText } from "./time-axis.js";

/** @param {unknown} ms */
const span = (ms) => spanText(Number(ms ?? 0));
/** @param {unknown} word */
const plain = (word) => String(word ?? "").replaceAll("_", " ");
/** @param {unknown} n @param {string} one */
const count = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;
/** @param {Fields} request */
const requestName = ({ request_id: id, method, path }) => `request ${id} (${method} ${path})`;
/** @param {unknown} before @param {unknown} value */
const tail = (before, value) => (value == null || value === "" ? "" : `${before}${value}`);
/** @param {Fields} request */
const withoutAttempt = ({ dropped_attempt: n }) => (n == null ? "" : `; attempt ${n} is not made`);
/** @param {Fields} fields */
const messageText = ({ error }) => /** @type {{ message?: string } | null} */ (error)?.message ?? "";

/** @param {Fields} fields */
function decision({ decision: kind, delay_ms: delay, attempt, budget, scope }) {
  const use = /** @type {{ used: number, max: number } | null} */ (budget);
  const used = use ? ` (${use.used} of ${use.max} restarts used)` : "";
  const others = Array.isArray(scope) && scope.length > 1 ? `, with ${scope.length} actors` : "";
  if (kind === "restart") return `decided: restart in ${span(delay)}, attempt ${attempt}${used}${others}`;
  /** @type {Record<string, string>} */
  const words = {
    leave: "leave it ended",
    give_up: "give up",
    escalate: "end the supervisor, whose parent decides",
    shut_down: "shut down",
  };
  return `decided: ${words[String(kind)] ?? plain(kind)}${used}`;
}

/** @param {Fields} fields */
function exited({ cause, message, location, abandoned }) {
  /** @type {Record<string, string>} */
  const words = {
    normal: "ended in order",
    shutdown: "was stopped",
    error: "ended with an error",
    panic: "panicked",
    killed: "was killed",
    stuck: "was stuck, and is killed",
    start_failed: "could not start",
  };
  const place = location ? ` (at ${location})` : "";
  return `${words[String(cause)] ?? plain(cause)}${tail(": ", message)}${place}${abandoned ? ", and may still be at work" : ""}`;
}

/** @param {Fields} fields */
function connection({ from, to, attempt, max, next_attempt_in_ms: next, error }) {
  const change = from === to ? `the connection is still ${to}` : `the connection changes from ${from} to ${to}`;
  const tries = to === "reconnecting" || to === "connecting" ? `, attempt ${attempt} of ${max}` : "";
  const when = next == null ? "" : `, next in ${span(next)}`;
  return `${change}${tries}${when}${tail(": ", messageText({ error }))}`;
}

addText(
  /** @type {Record<string, import("./text.js").TextEntry>} */ ({
    "event-runtime_started": "the runtime has started as process {pid}",
    "event-runtime_stopping": "the runtime is stopping",
    "event-runtime_stopped": ({ message }) => `the runtime has stopped${tail(": ", message)}`,
    "event-run_interrupted": "the previous run ended without notice after event {last_event}",
    "event-journal_degraded": "the journal: {message}",
    "event-actor_started": "a new incarnation is starting",
    "event-actor_ready": ({ start_ms: ms }) => `the new incarnation is ready after ${span(ms)}`,
    "event-actor_exited": exited,
    "event-abandoned_ended": "an abandoned incarnation has ended after all",
    "event-decision": decision,
    "event-actor_restarted": ({ downtime_ms: ms, state, backlog }) =>
      `restarted after ${span(ms)} ${state === "fresh" ? "without a state" : "from its last checkpoint"}` +
      (backlog ? `, and ${count(backlog, "message")} waited` : ""),
    "event-restart_cancelled": ({ by }) =>
      `${by === "command" ? "a command stops it" : "its supervisor stops"}, so its restart is cancelled`,
    "event-budget_reset": "a command has reset the restart budget",
    "event-start_ordered": "a command asks it to {order}",
    "event-gave_up": ({ restarts, last_error: error, next_step: next }) =>
      `given up after ${count(restarts, "restart")}${error ? ` (${error})` : ""}${tail(": ", next)}`,
    "event-escalated": "the supervisor ends itself, and its parent decides: {message}",
    "event-auto_shutdown": "the supervisor ends itself, because {child} has ended",
    "event-checkpoint_discarded": ({ crashes }) => `the checkpoint is quarantined after ${count(crashes, "crash")} in a row`,
    "event-dead_letter": ({ label, reason }) => `message ${label} was not handled: ${plain(reason)}`,
    "event-redelivered": "message {label} is redelivered after {crashes} of at most {crashes_max} crashes",
    "event-state_loaded": "begins from its stored checkpoint of version {version} ({bytes} bytes)",
    "event-state_migrated": "the stored state is migrated from version {from} to version {to}",
    "event-state_refused": "the stored state is quarantined, and the actor starts fresh: {message}",
    "event-state_degraded": "stored states: {message}",
    "event-backend_starting": ({ pid, awaits, ready_within_ms: ms }) =>
      `the backend is starting as process ${pid}; it is ready when ${awaits}, within ${span(ms)}`,
    "event-backend_started": ({ pid, ready_ms: ms }) => `the backend is ready as process ${pid} after ${span(ms)}`,
    "event-backend_suspended": ({ pid, restart_after_ms: ms }) =>
      `the backend's process ${pid} is stopped by a signal or a debugger; it is restarted if that lasts ${span(ms)}`,
    "event-backend_resumed": "the backend's process {pid} continues",
    "event-process_exited": ({ pid, code, signal, was_requested: asked }) =>
      `process ${pid} has ended${asked ? "" : " without a request"}${tail(", exit code ", code)}${tail(", signal ", signal)}`,
    "event-output_noisy":
      "it prints more than {lines_per_second} lines a second, so its log leaves lines out from now on",
    "event-output_quiet": ({ noisy_ms: ms, dropped_lines: n }) =>
      `it is no longer noisy: within ${span(ms)} its log has left out ${count(n, "line")}`,
    "event-logs_degraded": "the logs: {message}",
    "event-connection_state": connection,
    "event-connection_gap": ({ after, next }) => `frames between ${after ?? "?"} and ${next ?? "?"} may be missing`,
    "event-connection_unsent": ({ messages, outcome }) => `${count(messages, "message")} not sent: ${plain(outcome)}`,
    "event-connection_ignored": ({ frames }) => `${count(frames, "frame")} ignored: their numbers were seen before`,
    "event-request_started": (event) =>
      `${requestName(event)} is sent, attempt ${event.attempt}, after ${span(event.waited_ms)}` +
      (event.slow ? `, beside ${count(event.slow, "slow attempt")} at one path` : ""),
    "event-request_joined": (event) => `${requestName(event)} shares the response of request ${event.with}`,
    "event-request_retry": (event) =>
      `${requestName(event)} is sent again in ${span(event.delay_ms)}, attempt ${event.attempt}: ${plain(event.reason)}`,
    "event-request_done": (event) =>
      `${requestName(event)} is done with status ${event.status}, after ${span(event.ms)} and ` +
      count(event.attempts, "attempt"),
    "event-request_failed": (event) =>
      `${requestName(event)} has failed after ${span(event.ms)} and ${count(event.attempts, "attempt")}: ` +
      `${plain(event.reason)}${tail(", status ", event.status)}${withoutAttempt(event)}`,
    "event-request_timed_out": (event) =>
      `${requestName(event)} has timed out after ${span(event.ms)} and ${count(event.attempts, "attempt")}` +
      withoutAttempt(event),
    "event-queue_held": ({ waiting, next_probe_in_ms: ms, reason }) =>
      `the queue holds ${count(waiting, "request")}${ms == null ? "" : `, next probe in ${span(ms)}`}: ${plain(reason)}`,
    "event-queue_released": ({ held_ms: ms, waiting }) =>
      `the queue sends requests again after ${span(ms)}, ${count(waiting, "request")} waited`,
    "event-queue_overflow": (event) =>
      `${requestName(event)} is ${event.reason === "evicted" ? "evicted" : "refused"}, ` +
      `because the queue is full with ${event.queue_max}` +
      withoutAttempt(event),
    "event-cache_invalidated": ({ entries, by, pattern }) =>
      `${entries} ${entries === 1 ? "entry" : "entries"} invalidated by ${by}: ${pattern}`,
    "event-cache_aged": ({ slept_ms: ms }) =>
      `cached entries are older by ${span(ms)}, for which the computer slept`,
    "event-watch_started": "{root} is watched",
    "event-watch_lost": ({ root, reason, next_step: next }) => `${root} cannot be watched: ${plain(reason)}; ${next}`,
    "event-watch_regained": ({ root, lost_ms: ms }) => `${root} is watched again after ${span(ms)}`,
    "event-agent_health": ({ from, to, error }) =>
      `the agent's status changes from ${from} to ${to}${tail(": ", messageText({ error }))}`,
    "event-agent_stuck": ({ quiet_ms: ms, in_flight: n }) =>
      `the agent has made no progress with ${count(n, "request")} for ${span(ms)}: it is restarted`,
    "event-agent_state_quarantined":
      "the agent ended each time that it got its state back, so it starts without the state ({bytes} bytes)",
    "event-agent_call_paused": ({ call, deaths, quarantined, pause_ms: ms }) =>
      `the backend died over ${count(deaths, plain(call))} of the agent in a row, so ` +
      (ms
        ? `${quarantined ? "they are quarantined, and " : ""}the next comes ${span(ms)} after the backend's return`
        : "the state is not written again"),
    "event-agent_session_lost": "the agent cannot resume session {id} and has begun another one: {message}",
    "event-agent_question": ({ message_id: id, text: words }) =>
      `the agent asks${id == null ? "" : ` about message ${id}`}, and waits for an answer: ${words}`,
    "event-agent_question_settled": ({ ask, outcome }) =>
      outcome === "answered"
        ? `the agent's question ${ask} is answered`
        : outcome === "withdrawn"
          ? `the agent withdraws its question ${ask}`
          : `the agent's question ${ask} is cancelled without an answer`,
    "event-agent_reply_lost": ({ count: n, message }) => `a reply of the agent reached no message, the last of ${n}: ${message}`,
    "event-message_sent": "message {message_id} is sent to the agent, attempt {attempt}",
    "event-message_answered": "message {message_id} is answered",
    "event-message_failed": ({ message_id: id, reason }) =>
      reason === "outcome_unknown"
        ? `message ${id} was interrupted: the agent may have acted on it, so it is not sent again`
        : `message ${id} has failed: ${plain(reason)}`,
    "event-message_redelivered": ({ message_id: id, attempts, attempts_max: max, reason }) =>
      `message ${id} is sent again (${attempts} of ${max} attempts made): ${plain(reason)}`,
    "event-agent_outdated":
      "the backend has another address and secret since its last start, so the agent is restarted with them",
    "event-credentials_changed": ({ cause }) => `the backend's token is another one from now on: ${plain(cause)}`,
    "event-process_orphan": "process {pid} ({name}) of an earlier run was still there, and has been ended",
    "event-pid_file_damaged": ({ damaged_lines: n }) =>
      `the PID file of processes has ${count(n, "damaged line")}, and a copy is kept`,
    "event-process_warning": "{message}",
    "event-woke_after": ({ stood_still_ms: ms }) => `the runtime stood still for ${span(ms)}, and runs again`,
    "event-login_env_failed": "programs are searched in the runtime's own PATH: {message}",
    "event-lagged": "events after {after} and before {before} are missing here",
  }),
);

/**
 * Returns an event as a sentence; null if its kind has none.
 * @param {Fields & { kind: string }} event
 */
export function sentenceOf(event) {
  const key = `event-${event.kind}`;
  const words = text(key, { ...event });
  return words === key ? null : words;
}
