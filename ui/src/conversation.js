/**
 * Folds an agent's updates into a conversation: one turn per message, with its prompt, its text and its
 * outcome.
 */
import { handleError, MainstayError, ownError } from "./errors.js";

/** @import { AgentUpdate, Json } from "../protocol.d.ts" */

/**
 * @typedef {object} Question
 * @property {string} ask the question's name, for the answer
 * @property {Json} body
 *
 * @typedef {object} Turn
 * @property {string} key stays the same while the turn is shown
 * @property {number | null} messageId the runtime's number; null before it has one, and for what belongs to
 *   no message
 * @property {Json | undefined} prompt the message; undefined if it came from elsewhere before the oldest
 *   kept update
 * @property {string} text the text that the agent has sent so far
 * @property {Json | undefined} progress the last progress
 * @property {Json | undefined} answer
 * @property {MainstayError | null} error `outcome_unknown` if the agent may have acted
 * @property {"waiting" | "sent" | "answered" | "failed"} state
 *
 * @typedef {object} Conversation
 * @property {readonly Turn[]} turns
 * @property {readonly Question[]} questions the open questions, oldest first
 * @property {number} lagged the updates that are lost since this page was slow, or were not kept
 * @property {boolean} hasEnded true once the agent was removed
 *
 * @typedef {{update: AgentUpdate}
 *   | {lagged: number}
 *   | {restarted: true}
 *   | {ended: true}
 *   | {sending: string, body: Json}
 *   | {accepted: string, messageId: number}
 *   | {settled: string, messageId?: number, answer?: Json, error?: unknown}} ConversationItem
 */

/** @type {Conversation} */
export const EMPTY_CONVERSATION = Object.freeze({ turns: [], questions: [], lagged: 0, hasEnded: false });

/**
 * Returns the member of a JSON object, or undefined.
 *
 * @param {Json | undefined} value
 * @param {string} name
 * @returns {Json | undefined}
 */
function member(value, name) {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value[name] : undefined;
}

/**
 * Returns the text in a body: of an ACP chunk, of `{"text":…}`, or a text itself.
 *
 * @param {Json | undefined} body
 * @returns {string}
 */
export function textOf(body) {
  if (typeof body === "string") return body;
  const text = member(body, "text") ?? member(member(body, "content"), "text");
  return typeof text === "string" ? text : "";
}

/**
 * Returns whether a body is a chunk of the agent's answer. Thoughts, plans and tool calls of ACP are not.
 *
 * @param {Json} body
 */
function isAnswerText(body) {
  const kind = member(body, "sessionUpdate");
  return kind === undefined || kind === "agent_message_chunk";
}

/**
 * Copies turns before they change, each at most once per batch.
 *
 * @param {readonly Turn[]} turns
 */
function createEditor(turns) {
  const edited = [...turns];
  /** @type {Set<Turn>} */
  const own = new Set();
  const change = (/** @type {number} */ index, /** @type {Partial<Turn>} */ members) => {
    const turn = edited[index];
    if (own.has(turn)) return void Object.assign(turn, members);
    const copy = { ...turn, ...members };
    own.add(copy);
    edited[index] = copy;
  };
  const find = (/** @type {(turn: Turn) => boolean} */ matches) => edited.findLastIndex(matches);
  const add = (/** @type {Partial<Turn> & {key: string}} */ members) => {
    const turn = { ...NEW_TURN, ...members };
    own.add(turn);
    return edited.push(turn) - 1;
  };
  return { edited, change, find, add };
}

/** @type {Omit<Turn, "key">} */
const NEW_TURN = {
  messageId: null,
  prompt: undefined,
  text: "",
  progress: undefined,
  answer: undefined,
  error: null,
  state: "sent",
};

/** @typedef {ReturnType<typeof createEditor>} Editor */

/**
 * Returns the turn of a message. One without a message gets the turn at the end, if that has none either.
 *
 * @param {Editor} editor
 * @param {AgentUpdate} update
 */
function turnOf({ edited, find, add }, { message_id: id, seq }) {
  if (id !== undefined) {
    const found = find((turn) => turn.messageId === id);
    if (found >= 0) return found;
    // Another run numbers its messages from 1 again.
    let key = `m${id}`;
    while (edited.some((turn) => turn.key === key)) key += "'";
    return add({ key, messageId: id });
  }
  const last = edited.length - 1;
  return edited[last]?.key.startsWith("u") ? last : add({ key: `u${seq ?? last}` });
}

/**
 * Returns the members of a turn whose message has ended.
 *
 * @param {Json | undefined} answer
 * @param {unknown} error
 * @returns {Partial<Turn>}
 */
function outcome(answer, error) {
  if (error === undefined) return { state: "answered", answer, error: null };
  return { state: "failed", error: error instanceof MainstayError ? error : handleError(error) };
}

/** The outcome of messages whose updates are missing. A later update shows that one is still at work. */
const LOST = outcome(undefined, ownError("outcome_unknown", "updates are missing"));

/**
 * Returns whether a turn has no outcome yet.
 *
 * @param {Turn} turn
 */
const isOpen = ({ state, error }) => state === "waiting" || state === "sent" || error === LOST.error;

/**
 * Applies an update to its turn.
 *
 * @param {Editor} editor
 * @param {AgentUpdate} update
 */
function applyUpdate(editor, update) {
  const { kind, body } = update;
  if (kind === "session" || kind === "settled" || kind === "ask") return;
  const index = turnOf(editor, update);
  const turn = editor.edited[index];
  if (kind === "ended") {
    return editor.change(index, outcome(member(body, "answer"), member(body, "error")));
  }
  if (isOpen(turn)) editor.change(index, { state: "sent", error: null });
  if (kind === "sent") editor.change(index, { prompt: body });
  else if (kind === "message" && isAnswerText(body)) editor.change(index, { text: turn.text + textOf(body) });
  else editor.change(index, { progress: body });
}

/**
 * Applies what this page knows of its own message, before or after the agent's updates do. The first outcome
 * stays.
 *
 * @param {Editor} editor
 * @param {ConversationItem} item
 */
function applyOwn({ edited, change, find, add }, item) {
  if ("sending" in item) add({ key: item.sending, prompt: item.body, state: "waiting" });
  if ("accepted" in item) {
    const { accepted, messageId } = item;
    const own = find((turn) => turn.key === accepted);
    const other = find((turn) => turn.messageId === messageId);
    if (own < 0 || own === other) return;
    const { state, answer, error } = edited[own];
    const isSettled = !isOpen(edited[own]);
    change(own, { messageId });
    if (other < 0) return;
    // Its updates came before the acceptance: they are the same turn.
    const { key: _key, prompt: _prompt, ...rest } = edited[other];
    change(own, isSettled && isOpen(edited[other]) ? { ...rest, state, answer, error } : rest);
    edited.splice(other, 1);
  }
  if ("settled" in item) {
    const { settled, messageId } = item;
    const own = find((turn) => turn.key === settled || turn.messageId === (messageId ?? NaN));
    if (own >= 0 && isOpen(edited[own])) change(own, outcome(item.answer, item.error));
  }
}

/**
 * Ends the messages of others whose outcome may be among lost updates. The promises of own messages end these.
 *
 * @param {Editor} editor
 */
function applyLoss({ edited, change }) {
  for (const [index, { state, key }] of edited.entries()) {
    if (state === "sent" && key.startsWith("m")) change(index, LOST);
  }
}

/**
 * Applies a restart of the runtime: what it worked on is broken off, and it counts messages from the start.
 *
 * @param {Editor} editor
 */
function applyRestart({ edited, change }) {
  for (const [index, { state, messageId }] of edited.entries()) {
    const isBroken = messageId !== null && state === "sent";
    if (isBroken) change(index, outcome(undefined, ownError("outcome_unknown")));
    if (messageId !== null) change(index, { messageId: null });
  }
}

/**
 * Applies an update to the open questions.
 *
 * @param {readonly Question[]} questions
 * @param {AgentUpdate} update
 */
function applyQuestion(questions, { kind, ask, body }) {
  if (!ask || (kind !== "ask" && kind !== "settled")) return questions;
  const others = questions.filter((question) => question.ask !== ask);
  return kind === "ask" ? [...others, { ask, body }] : others;
}

/**
 * Returns the conversation before its kept updates come once more. Messages that wait stay.
 *
 * @param {Conversation} conversation
 * @returns {Conversation}
 */
export function restartConversation({ turns }) {
  const own = turns.filter(({ state }) => state === "waiting");
  return own.length ? { ...EMPTY_CONVERSATION, turns: own } : EMPTY_CONVERSATION;
}

/**
 * Folds items into a conversation. Turns that did not change stay the same objects.
 *
 * @param {Conversation} conversation
 * @param {readonly ConversationItem[]} items
 * @param {number} [limit] the most turns that are kept
 * @returns {Conversation}
 */
export function foldConversation(conversation, items, limit = 200) {
  const editor = createEditor(conversation.turns);
  let { questions, lagged, hasEnded } = conversation;
  for (const item of items) {
    if ("update" in item) {
      applyUpdate(editor, item.update);
      questions = applyQuestion(questions, item.update);
    } else if ("restarted" in item) {
      questions = [];
      applyRestart(editor);
    } else if ("lagged" in item) {
      lagged += item.lagged;
      applyLoss(editor);
    } else if ("ended" in item) {
      hasEnded = true;
      applyLoss(editor);
    } else {
      applyOwn(editor, item);
    }
  }
  return { turns: editor.edited.slice(-limit), questions, lagged, hasEnded };
}
