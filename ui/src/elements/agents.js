/**
 * `<mainstay-agents>`: every agent with its state, restarts, budget, next step and actions.
 *
 * An agent that is not known is not shown, and none is called healthy before its first good check. The
 * attribute `agent` picks one, `readonly` leaves the actions out.
 *
 * @typedef {import("../store.js").State} State
 * @typedef {import("../store.js").Agent} Agent
 * @typedef {"restart" | "stop" | "start" | "reset"} Action
 */
import { button, define, h, MainstayElement } from "./base.js";
import { toast } from "./error-toast.js";
import { messageOf, more, text } from "./more.js";

/** @type {Record<string, string>} */
const TONES = { healthy: "good", degraded: "warn", restarting: "warn", failed: "bad" };

/**
 * Returns the actions that make sense in a state.
 * @param {Agent} agent
 * @returns {Action[]}
 */
export const actionsOf = ({ status, gave_up: gaveUp }) =>
  gaveUp ? ["reset"] : status === "stopped" ? ["start"] : ["restart", "stop"];

/**
 * Returns the next step in plain words.
 * @param {Agent} agent
 * @param {(at: number | null) => string} when
 */
export function stepOf(agent, when) {
  const { status, misses, fail_after: failAfter, restartAtMs } = agent;
  if (agent.questions.length) return text("step-question");
  if (agent.gave_up) return text("step-gave-up");
  if (status === "degraded" && misses)
    return text("step-misses", { n: misses, left: Math.max(1, failAfter - misses) });
  return text(`step-${status}`, { when: status === "restarting" ? when(restartAtMs) : "" });
}

/** @param {string} at */
const timeOf = (at) => new Date(at).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });

/**
 * Returns what is announced of an agent: that it restarts after a crash, or is given up.
 * @param {Agent} agent
 */
export function spokenOf({ id, status, gave_up: gaveUp, error, last_error: last }) {
  if (gaveUp) return text("gaveUp", { id });
  return (error || last) && (status === "failed" || status === "restarting") ? text("crashed", { id }) : "";
}

export class Agents extends MainstayElement {
  static css = `${more}
.old .state{color:var(--s)}.old .mark{background:none;clip-path:none;border-radius:50%;--c:var(--s)}
dialog{color:inherit;padding:1.3em;margin:auto;width:min(24rem,100% - 2rem)}p{margin:.5em 0 1.2em}
::backdrop{background:rgb(0 0 0/.4)}dialog .row{justify-content:end}.risk{background:var(--e)}
`;
  static observedAttributes = ["agent", "readonly"];
  /** @type {Map<string, Action>} */
  #busy = new Map();
  /** @type {{agent: Agent, action: Action} | null} */
  #asked = null;

  /**
   * @override
   * @param {State} state
   */
  select({ agents, isLive }) {
    return [agents, isLive];
  }

  /**
   * Acts, after a question if that ends work.
   * @param {Agent} agent
   * @param {Action} action
   */
  #ask(agent, action) {
    const isDestructive = action === "stop" || (action === "restart" && agent.messages_in_flight > 0);
    if (!isDestructive) return this.#act(agent.id, action);
    this.#asked = { agent, action };
    this.refresh();
    const dialog = /** @type {HTMLDialogElement} */ (this.find("dialog"));
    dialog.returnValue = "";
    dialog.showModal();
  }

  /**
   * @param {string} id
   * @param {Action} action
   */
  async #act(id, action) {
    this.#busy.set(id, action);
    this.refresh();
    try {
      await this.client.agent(id)[action]();
    } catch (error) {
      toast(error, {
        title: text("actOn", { action: text(action), id }),
        retry: () => this.#act(id, action),
      });
    }
    this.#busy.delete(id);
    this.refresh();
  }

  #dialog() {
    const { agent, action = "stop" } = this.#asked ?? {};
    const n = agent?.messages_in_flight;
    return h(
      "dialog.card raised",
      {
        "aria-labelledby": "q",
        onclose: (/** @type {Event} */ { target }) => {
          if (agent && /** @type {HTMLDialogElement} */ (target).returnValue)
            void this.#act(agent.id, action);
        },
      },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "q" }, text("confirm", { action: text(action), id: agent?.id })),
        h("p.soft", {}, text(n ? "confirmWork" : "confirmIdle", { n })),
        h(
          ".row",
          {},
          h("button.button cancel", { value: "", autofocus: true }, text("keep")),
          h("button.button main risk", { value: "yes" }, text(action)),
        ),
      ),
    );
  }

  /** @param {Agent} agent */
  #row(agent) {
    const { id, status, restarts, budget, budget_left: left, state_saved_at: savedAt } = agent;
    const now = this.#busy.get(id);
    const actions = this.hasAttribute("readonly") ? [] : actionsOf(agent);
    return h(
      "li.agent line row wrap",
      { key: id },
      h(
        ".grow",
        {},
        h(
          `.row ${TONES[status] ?? ""}`,
          {},
          h("span.mark"),
          h("b.name", {}, id),
          h("span.state", {}, text(status)),
        ),
        h(
          ".note",
          {},
          stepOf(agent, (at) => this.when(at)),
          " · ",
          text("restarts", { n: restarts }),
          ", ",
          left == null ? text("noLimit") : text("budget", { n: left, max: budget?.max }),
          savedAt && ` · ${text("saved", { at: timeOf(savedAt) })}`,
        ),
        h(".error", {}, messageOf(agent.error) || agent.last_error),
      ),
      h(
        ".row",
        {},
        actions.map((action) =>
          button("act", text(action), () => this.#ask(agent, action), {
            isBusy: now === action,
            isOff: now === action || !this.state.isLive,
            name: text("actOn", { action: text(action), id }),
          }),
        ),
      ),
    );
  }

  /** @override */
  view() {
    const { agents, isLive, status } = this.state;
    const id = this.getAttribute("agent");
    const list = /** @type {Agent[]} */ (Object.values(agents)).filter((agent) => !id || agent.id === id);
    if (!status || (id && !list.length)) return [];
    return [
      h(
        `.card ${isLive ? "" : "old"}`,
        {},
        !isLive && h(".head row wrap soft", {}, text("old")),
        h(
          "ul",
          { "aria-label": text("agents") },
          list.map((agent) => this.#row(agent)),
        ),
        h(
          ".spoken",
          { role: "status", "aria-atomic": "false" },
          list.map((agent) => h("", { key: agent.id }, spokenOf(agent))),
        ),
        !list.length && h("p.empty", {}, text("noAgents")),
      ),
      this.#dialog(),
    ];
  }
}

define("mainstay-agents", Agents);
