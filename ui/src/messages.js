/** Messages to agents. The client loads this module with the first message. */
import { createTimer } from "./clock.js";
import { MainstayError, ownError } from "./errors.js";
import { call } from "./listeners.js";
import { fromWire, toWire } from "./names.js";
import { isLoss, longestWait, TIMER_MAX_MS, WAIT_MS } from "./session.js";

/**
 * @typedef {import("../protocol.d.ts").AgentUpdate} AgentUpdate
 * @typedef {import("../protocol.d.ts").Json} Json
 * @typedef {import("./client.js").MessageOptions} MessageOptions
 * @typedef {import("./client.js").MessageReply} MessageReply
 * @typedef {import("./session.js").Session} Session
 * @typedef {import("./streams.js").AgentItem} AgentItem
 */
/**
 * @typedef {object} Sender
 * @property {Session} session
 * @property {ReturnType<typeof import("./streams.js").createAgents>} agents
 * @property {Set<() => void>} waits the waits for outcomes that end with the client
 * @property {import("./clock.js").Clock} clock
 */

const MESSAGE_OPTIONS = "mayRepeat detached waitTimeoutMs timeoutMs deadlineMs";

/**
 * Sends a message to an agent, and waits for the answer.
 * @param {Sender} sender
 * @param {string} agent
 * @param {unknown} body
 * @param {MessageOptions} options
 * @returns {Promise<MessageReply>}
 */
export async function sendMessage({ session, agents, waits, clock }, agent, body, options) {
  const { signal, detached, deadlineMs, onUpdate, onAccepted } = options;
  const sentAt = clock.now();
  const [deadline, look] = [createTimer(clock), createTimer(clock)];
  /** @type {number | undefined} */
  let messageId;
  /** The number of the last update, after which others come once the session is back. */
  let seq = 0;
  /** @type {AgentUpdate[]} */
  const early = [];
  /** @type {(outcome?: Json) => void} */
  let end = () => {};
  const ended = new Promise((resolve) => (end = resolve));
  /** @param {number | undefined} message_id */
  const cancel = (message_id) => {
    if (message_id != null) session.tell({ type: "agent", agent, action: "cancel", message_id });
  };
  const abort = () => {
    cancel(messageId);
    end();
  };
  /** @param {AgentUpdate} update */
  const pass = (update) => {
    if (update.message_id === messageId) call(onUpdate, update);
  };
  /** @param {AgentItem} item */
  const onItem = (item) => {
    if (!("update" in item)) return;
    seq = item.update.seq ?? seq;
    if (messageId == null) early.push(item.update);
    else pass(item.update);
  };
  /** @param {AgentItem} item */
  const onEnd = (item) => {
    if (!("update" in item)) end();
    else if (item.update.message_id === messageId && item.update.kind === "ended") end(item.update.body);
  };
  const stops = onUpdate || detached ? [agents.listen(agent, onItem)] : [];
  try {
    return fromWire(
      await session.ask(
        {
          type: "agent",
          agent,
          action: "send",
          body: /** @type {Json} */ (body),
          ...toWire(options, MESSAGE_OPTIONS),
        },
        {
          signal,
          waitMs: longestWait(options),
          onPush: ({ accepted }) => {
            messageId = accepted?.message_id;
            call(onAccepted, /** @type {number} */ (messageId));
            early.splice(0).forEach(pass);
          },
          onAbort: (id) => {
            cancel(messageId);
            if (messageId == null) session.route(id, ({ accepted }) => cancel(accepted?.message_id));
          },
        },
      ),
    );
  } catch (error) {
    // The message goes on, and an update has its outcome.
    if (!detached || messageId == null || session.isClosed() || !isLoss(error)) throw error;
    stops.push(agents.listen(agent, onEnd, seq));
    waits.add(end);
    // Each wait for a session is as long as that of a command, and the whole as long as the deadline.
    if (deadlineMs && deadlineMs < TIMER_MAX_MS) deadline.set(end, Math.max(0, sentAt + deadlineMs - clock.now()));
    const keepSession = () => {
      if (!waits.has(end)) return;
      session.ask({ type: "hello" }, { waitMs: longestWait(options) }).then(
        () => waits.has(end) && look.set(keepSession, WAIT_MS),
        (lost) => (isLoss(lost) ? keepSession() : end()),
      );
    };
    keepSession();
    signal?.addEventListener("abort", abort);
    /** @type {{ answer?: Json, error?: import("../protocol.d.ts").ErrorObject } | undefined} */
    const outcome = await ended;
    if (signal?.aborted) throw ownError("cancelled", "", signal.reason);
    if (outcome?.error) throw new MainstayError(outcome.error);
    if (!outcome) throw error;
    return { messageId, answer: outcome.answer ?? null };
  } finally {
    for (const stop of [...stops, deadline.clear, look.clear]) stop();
    waits.delete(end);
    signal?.removeEventListener("abort", abort);
  }
}
