/**
 * `<mainstay-agent-conversation agent="ID">`: prompts, streamed answers, questions, and the outcome of each
 * message.
 *
 * Messages go on when the page is reloaded, and the new page shows them again. An agent that is not known
 * shows nothing. A property `agent` and an attribute of that name are the same.
 *
 * @import { AgentUpdate } from "../../protocol.d.ts"
 * @import { AgentItem } from "../client.js"
 * @import { ConversationItem, Question, Turn } from "../conversation.js"
 * @import { State } from "../store.js"
 */
import { EMPTY_CONVERSATION, foldConversation } from "../conversation.js";
import { button, define, h, MainstayElement } from "./base.js";
import { toast } from "./error-toast.js";
import { messageOf, more, text } from "./more.js";

const SPOKEN_MAX = 300;
const NEAR_END_PX = 40;
const UNCERTAIN = /outcome_unknown|crashed|no_answer|disconnected/;
const WORDS = [
  "text",
  "reply",
  "answer",
  "question",
  "title",
  "toolCall",
  "content",
  "message",
  "name",
  "label",
  "status",
];

/**
 * Returns the first of some members that a value has.
 * @param {unknown} value
 * @param {string[]} names
 * @returns {unknown}
 */
function memberOf(value, names) {
  const object = /** @type {Record<string, unknown>} */ (typeof value === "object" ? (value ?? {}) : {});
  return names.map((name) => object[name]).find((member) => member != null);
}

/**
 * Returns the words in a body: a text, or the first member that has one, or its JSON.
 * @param {unknown} body
 * @returns {string}
 */
export function wordsOf(body) {
  if (typeof body !== "object") return String(body ?? "");
  const words = memberOf(body, WORDS);
  return words == null ? (body ? JSON.stringify(body) : "") : wordsOf(words);
}

/**
 * Returns the choices of a question; none if it wants free text.
 * @param {unknown} body
 * @returns {{value: string, label: string}[]}
 */
export function choicesOf(body) {
  const list = memberOf(body, ["options", "choices"]);
  return !Array.isArray(list)
    ? []
    : list.map((option) => ({
        value: String(memberOf(option, ["optionId", "id", "value"]) ?? option),
        label: String(memberOf(option, ["name", "label", "value"]) ?? option),
      }));
}

export class AgentConversation extends MainstayElement {
  static css = `${more}
.log{padding:1em;display:flex;flex-direction:column}.log ol{margin-top:auto}.log .empty{margin:auto}
.turn{display:flex;flex-direction:column;align-items:start;gap:.5em;margin-top:1.1em}
.prompt,.answer{white-space:pre-wrap;max-width:min(46rem,88%)}
.prompt{align-self:end;border-radius:var(--r);padding:.45em .8em}.prompt,.question{background:var(--h)}
.sent .answer::after{content:"▍";color:var(--a);animation:1s steps(2) infinite blink}
@keyframes blink{50%{opacity:0}}
.broken{border:1px dashed var(--w);border-radius:var(--r);padding:.4em .8em}
.question,.composer{border-top:1px solid var(--l)}.question .row{margin-top:.5em}
textarea{resize:none;max-height:9em;field-sizing:content}
`;
  static observedAttributes = ["agent"];
  #conversation = EMPTY_CONVERSATION;
  /** @type {ConversationItem[]} */
  #items = [];
  /** @type {Map<string, AbortController>} */
  #aborts = new Map();
  #count = 0;
  #spoken = "";
  /** @type {Set<string>} */
  #answered = new Set();

  /** Returns the agent's id. */
  get agent() {
    return this.getAttribute("agent") ?? "";
  }

  set agent(id) {
    this.setAttribute("agent", id);
  }

  get #handle() {
    return this.client.agent(this.agent);
  }

  /**
   * @override
   * @param {State} state
   */
  select({ agents, isLive, status }) {
    return [agents[this.agent], isLive, !status];
  }

  /** @override */
  attributeChangedCallback() {
    if (!this.stops.length) return;
    this.disconnectedCallback();
    this.connectedCallback();
  }

  /** @override */
  start() {
    super.start();
    this.#conversation = EMPTY_CONVERSATION;
    this.#items = [];
    if (this.agent) this.stops.push(this.#handle.listen((item) => this.#take(item), { after: 0 }));
  }

  /** @param {ConversationItem | AgentItem} item */
  #take(item) {
    if ("error" in item && !("settled" in item)) toast(item.error);
    else this.#items.push(item);
    if ("update" in item) this.#speak(item.update);
    this.plan();
  }

  /** @param {AgentUpdate} update */
  #speak({ kind, body, is_replay: isReplay }) {
    const id = this.agent;
    const answer = memberOf(body, ["answer"]);
    if (isReplay) return;
    if (kind === "ask") this.#spoken = `${text("asks", { id })}: ${wordsOf(body)}`;
    if (kind === "ended" && answer)
      this.#spoken = text("answered", { id, answer: wordsOf(answer).slice(0, SPOKEN_MAX) });
  }

  /**
   * Sends a prompt to the agent, and shows its outcome.
   * @param {string} prompt
   */
  async send(prompt) {
    const key = `own${++this.#count}`;
    const body = { text: prompt };
    const abort = new AbortController();
    this.#aborts.set(key, abort);
    this.#take({ sending: key, body });
    try {
      const reply = await this.#handle.send(body, {
        detached: true,
        signal: abort.signal,
        onAccepted: (messageId) => this.#take({ accepted: key, messageId }),
      });
      this.#take({ settled: key, answer: reply.answer });
    } catch (error) {
      // If only this page lost its session, an update brings the outcome later.
      this.#take({ settled: key, error });
    }
    this.#aborts.delete(key);
  }

  /** @param {Event} event */
  #submit(event) {
    event.preventDefault();
    const input = /** @type {HTMLTextAreaElement} */ (this.find("textarea"));
    const prompt = input.value.trim();
    if (!prompt || !this.state.isLive) return;
    input.value = "";
    void this.send(prompt);
  }

  /** @param {Turn} turn */
  #cancel({ key, messageId }) {
    if (messageId == null) this.#aborts.get(key)?.abort();
    else this.#handle.cancel(messageId).catch(toast);
  }

  /** @param {string} prompt */
  #edit(prompt) {
    const input = /** @type {HTMLTextAreaElement} */ (this.find("textarea"));
    input.value = prompt;
    input.focus();
  }

  /**
   * @param {string} ask
   * @param {string} answer
   */
  async #answer(ask, answer) {
    if (!answer || this.#answered.has(ask)) return;
    this.#answered.add(ask);
    this.refresh();
    await this.#handle.answer(ask, answer).catch(toast);
    this.#answered.delete(ask);
    this.refresh();
  }

  /** @param {Question} question */
  #question({ ask, body }) {
    const choices = choicesOf(body);
    const isBusy = this.#answered.has(ask);
    const id = `q-${ask}`;
    return h(
      "li.question line",
      { key: ask },
      h(".note", {}, text("asks", { id: this.agent })),
      h("b.title", { id }, wordsOf(body)),
      choices.length
        ? h(
            ".row wrap",
            { role: "group", "aria-labelledby": id },
            choices.map(({ value, label }) =>
              button("act", label, () => this.#answer(ask, value), { isBusy, key: value }),
            ),
          )
        : h(
            "form.row",
            {
              onsubmit: (/** @type {SubmitEvent} */ event) => {
                event.preventDefault();
                const { value } = /** @type {HTMLInputElement} */ (
                  /** @type {HTMLFormElement} */ (event.target)[0]
                );
                void this.#answer(ask, value.trim());
              },
            },
            h("input.field grow", { "aria-labelledby": id }),
            h("button.button main", { "aria-busy": isBusy }, text("answer")),
          ),
    );
  }

  /** @param {Turn} turn */
  #turn(turn) {
    const { key, state, error, prompt, progress } = turn;
    const id = this.agent;
    const isOpen = state === "waiting" || state === "sent";
    const isBroken = !!error && UNCERTAIN.test(error.reason);
    const answer = wordsOf(turn.answer) || turn.text;
    const words = wordsOf(prompt);
    const percent = memberOf(progress, ["percent"]);
    const note = error
      ? isBroken
        ? text("broken", { id })
        : error.reason === "cancelled"
          ? text("cancelled")
          : messageOf(error)
      : state === "waiting"
        ? text("waiting", { id })
        : percent != null
          ? text("percent", { n: percent })
          : wordsOf(progress) || (answer ? "" : text("answering"));
    return h(
      `li.turn ${state}`,
      { key, "aria-busy": isOpen },
      words && h(".prompt text", {}, words),
      answer && h(".answer text", {}, answer),
      state !== "answered" &&
        !key.startsWith("u") &&
        h(
          `.row wrap ${isBroken ? "broken" : ""}`,
          {},
          note && h(`.note ${isBroken || isOpen || error?.reason === "cancelled" ? "" : "error"}`, {}, note),
          isOpen && button("act", text("cancel"), () => this.#cancel(turn)),
          !isOpen && words && button("act", text("edit"), () => this.#edit(words)),
        ),
    );
  }

  #fold() {
    if (this.#items.length) this.#conversation = foldConversation(this.#conversation, this.#items.splice(0));
  }

  /** @override */
  refresh() {
    const isAtEnd = (/** @type {Element | null} */ log) =>
      !log || log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
    const wasAtEnd = isAtEnd(this.find(".log"));
    super.refresh();
    const log = this.find(".log");
    if (log && wasAtEnd) log.scrollTop = log.scrollHeight;
  }

  /** @override */
  view() {
    const { agents, isLive, status } = this.state;
    const id = this.agent;
    if (!id || (status && !agents[id])) return [];
    this.#fold();
    const { turns, questions, lagged } = this.#conversation;
    const label = text("prompt", { id });
    return [
      h(
        ".card tall",
        {},
        h(
          ".log fill",
          { role: "group", tabindex: 0, "aria-label": text("conversation", { id }) },
          h(
            "ol",
            {},
            turns.map((turn) => this.#turn(turn)),
          ),
          !turns.length && !lagged && h("p.empty", {}, text("noTurns", { id })),
          lagged > 0 && h(".note", {}, text("lostUpdates", { n: lagged })),
        ),
        h(
          "ol.questions",
          {},
          questions.map((question) => this.#question(question)),
        ),
        h(
          "form.composer row line",
          { onsubmit: (/** @type {Event} */ event) => this.#submit(event) },
          h("textarea.field grow", {
            rows: 1,
            "aria-label": label,
            placeholder: label,
            onkeydown: (/** @type {KeyboardEvent} */ event) => {
              if (event.key === "Enter" && !event.shiftKey && !event.isComposing) this.#submit(event);
            },
          }),
          h("button.button main", { "aria-disabled": !isLive }, text("send")),
        ),
        h(".spoken", { role: "status" }, this.#spoken),
      ),
    ];
  }
}

define("mainstay-agent-conversation", AgentConversation);
