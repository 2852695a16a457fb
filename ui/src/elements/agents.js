/**
 * `<mainstay-agents>`: every agent with its state, restarts, budget, next step and actions.
 *
 * An agent that is not known is not shown, and none is called healthy before its first good check. The
 * attribute `agent` picks one, `readonly` leaves the actions out. `limit` shows that many: first those that are not
 * healthy, and the others in their order. A long list scrolls, begins with those that are not healthy, and draws those in sight.
 * Its order stays while the pointer or the focus is in it.
 *
 * @typedef {import("../store.js").State} State
 * @typedef {import("../store.js").Agent} Agent
 * @typedef {"restart" | "stop" | "start" | "reset"} Action
 */
import { button, define, h, MainstayElement } from "./base.js";
import { toast } from "./error-toast.js";
import { messageOf, more, text } from "./more.js";
import { rowsInSight } from "./windowed.js";

/** @type {Record<string, string>} */
const TONES = { healthy: "good", degraded: "warn", restarting: "warn", unknown: "warn", failed: "bad" };

/** A list from this length on draws the rows in sight alone. */
const LONG = 100;
const ROW_PX = 64;
const NARROW_ROW_PX = 104;
const NARROW_PX = 520;

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

/** Returns a time of day, with its date unless that is today. @param {string} at */
const timeOf = (at) => {
  const isToday = new Date(at).toDateString() === new Date().toDateString();
  return new Date(at).toLocaleString([], isToday ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "medium" });
};

/**
 * Returns what is announced of an agent: that it restarts after a crash, or is given up.
 * @param {Agent} agent
 */
export function spokenOf({ id, status, gave_up: gaveUp, error, last_error: last }) {
  if (gaveUp) return text("gaveUp", { id });
  return (error || last) && (status === "failed" || status === "restarting") ? text("crashed", { id }) : "";
}

/** @param {Agent} agent */
const needsLook = ({ status, questions }) => status !== "healthy" || questions.length > 0;

/**
 * Returns the agents that are shown, in their order: those that need a look, then the first others.
 * @param {Agent[]} agents
 * @param {number} limit
 */
export function firstOf(agents, limit) {
  if (agents.length <= limit) return agents;
  const urgent = new Set(agents.filter(needsLook).slice(0, limit));
  let room = limit - urgent.size;
  return agents.filter((agent) => urgent.has(agent) || (!needsLook(agent) && room-- > 0));
}

export class Agents extends MainstayElement {
  static css = `${more}
.old .state{color:var(--s)}.old .mark{background:none;clip-path:none;border-radius:50%;--c:var(--s)}
dialog{color:inherit;padding:1.3em;margin:auto;width:min(24rem,100% - 2rem)}p{margin:.5em 0 1.2em}
::backdrop{background:rgb(0 0 0/.4)}dialog .row{justify-content:end}.risk{background:var(--e)}
.scroll{max-height:var(--mainstay-height,30rem);overflow:auto;outline-offset:-2px;border-radius:var(--r)}
.long{position:relative}.long>.agent{position:absolute;inset:0 0 auto;height:${ROW_PX}px;contain:strict}
.long .note,.long .error{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}.long .note:has(+.error:not(:empty)){display:none}
:host{container-type:inline-size}
@container (max-width:${NARROW_PX}px){.long>.agent{height:${NARROW_ROW_PX}px;align-content:center}}
`;
  static observedAttributes = ["agent", "limit", "readonly"];
  /** @type {Map<string, Action>} */
  #busy = new Map();
  /** @type {{agent: Agent, action: Action} | null} */
  #asked = null;
  /** The agents that are shown, and of which state they are. @type {{ of: unknown, all: Agent[], list: Agent[], spoken: Agent[] }} */
  #shown = { of: null, all: [], list: [], spoken: [] };
  /** The order of a long list, by id. @type {Map<string, number>} */
  #order = new Map();
  #top = 0;
  #height = 480;

  /**
   * @override
   * @param {State} state
   */
  select({ agents, isLive }) {
    return [agents, isLive];
  }

  /** @override */
  start() {
    // A list that is put in a page again begins at its top.
    this.#top = 0;
    super.start();
    const resize = new ResizeObserver(() => {
      this.#height = this.find(".scroll")?.clientHeight || this.#height;
      this.plan();
    });
    resize.observe(this);
    this.listen(this.root, "focusout", () => this.#release());
    this.stops.push(() => resize.disconnect());
  }

  /** Renders. The focus stays with its agent, also if its button has become another. @override */
  refresh() {
    const id = this.#focused();
    super.refresh();
    if (!id || this.root.activeElement) return;
    const rows = /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll(".agent")]);
    const node = rows.find((row) => row.dataset.id === id)?.querySelector("button") ?? this.find(".scroll");
    node?.focus({ preventScroll: true });
  }

  /** Returns the id of the agent whose row has the focus. */
  #focused() {
    const row = /** @type {HTMLElement | null | undefined} */ (this.root.activeElement?.closest(".agent"));
    return row?.dataset.id;
  }

  /** Orders a long list: first those that need a look. Who is looking at it finds it as it was. @param {Agent[]} list */
  #sort(list) {
    const isHeld = this.find(".scroll")?.matches(":hover, :focus-within");
    const place = (/** @type {Agent} */ { id }) => this.#order.get(id) ?? Infinity;
    const order = isHeld
      ? list.toSorted((a, b) => place(a) - place(b) || 0)
      : [...list.filter(needsLook), ...list.filter((agent) => !needsLook(agent))];
    this.#order = new Map(order.map(({ id }, index) => [id, index]));
    return order;
  }

  /** Orders a list that is not looked at any more. */
  #release() {
    this.#shown.of = null;
    this.plan();
  }

  /** @override */
  attributeChangedCallback() {
    this.#shown.of = null;
    super.attributeChangedCallback();
  }

  /** Lists the agents. The same state has the same list, so that scrolling costs no more with many. */
  #list() {
    const { agents } = this.state;
    if (this.#shown.of === agents) return this.#shown;
    const id = this.getAttribute("agent");
    const all = /** @type {Agent[]} */ (id ? [agents[id]].filter(Boolean) : Object.values(agents));
    const list = firstOf(all, this.number("limit", Infinity));
    const isLong = list.length > LONG;
    const order = isLong ? this.#sort(list) : list;
    // A list that becomes long again begins at its top.
    if (!isLong) this.#top = 0;
    this.#shown = { of: agents, all, list: order, spoken: order.filter((agent) => spokenOf(agent)).slice(0, LONG) };
    return this.#shown;
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

  /** @param {Agent} agent @param {Record<string, unknown>} [place] */
  #row(agent, place) {
    const { id, status, restarts, budget, budget_left: left, state_saved_at: savedAt } = agent;
    const now = this.#busy.get(id);
    const actions = this.hasAttribute("readonly") ? [] : actionsOf(agent);
    return h(
      "li.agent line row wrap",
      { key: id, "data-id": id, ...place },
      h(
        ".grow",
        {},
        h(
          `.row ${TONES[status] ?? ""}`,
          {},
          h("span.mark"),
          h("b.name", {}, id),
          h("span.state", {}, text(agent.gave_up ? "givenUp" : status)),
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

  /** Describes the rows in sight of a long list. @param {Agent[]} list */
  #long(list) {
    const rowPx = this.clientWidth <= NARROW_PX ? NARROW_ROW_PX : ROW_PX;
    // The page shortens the way of a list that has become shorter, and tells it later.
    this.#top = Math.max(0, Math.min(this.#top, list.length * rowPx - this.#height));
    const { first, end } = rowsInSight({ top: this.#top, height: this.#height, count: list.length, rowPx });
    const focused = this.#order.get(this.#focused() ?? "") ?? first;
    const places = Array.from({ length: end - first }, (_, index) => first + index);
    if (focused < first) places.unshift(focused);
    else if (focused >= end && focused < list.length) places.push(focused);
    const rows = places.map((at) => {
      const agent = list[at];
      const style = `transform:translateY(${at * rowPx}px)`;
      return this.#row(agent, { style, "aria-posinset": at + 1, "aria-setsize": list.length });
    });
    return h(
      ".scroll",
      {
        key: "long",
        tabindex: 0,
        role: "group",
        "aria-label": text("agents"),
        onscroll: (/** @type {Event} */ { target }) => {
          const { scrollTop, clientHeight } = /** @type {HTMLElement} */ (target);
          this.#top = scrollTop;
          this.#height = clientHeight;
          this.plan();
        },
        onmouseleave: () => this.#release(),
      },
      h("ul.long", { "aria-label": text("agents"), style: `height:${list.length * rowPx}px` }, rows),
    );
  }

  /** @override */
  view() {
    const { isLive, status } = this.state;
    const { all, list, spoken } = this.#list();
    if (!status || (this.hasAttribute("agent") && !list.length)) return [];
    return [
      h(
        `.card ${isLive ? "" : "old"}`,
        {},
        !isLive && h(".head row wrap soft", {}, text("old")),
        list.length > LONG
          ? this.#long(list)
          : h(
              "ul",
              { key: "short", "aria-label": text("agents") },
              list.map((agent) => this.#row(agent)),
            ),
        h(
          ".spoken",
          { role: "status", "aria-atomic": "false" },
          spoken.map((agent) => h("", { key: agent.id }, spokenOf(agent))),
        ),
        all.length > list.length && h("p.head soft", {}, text("moreAgents", { n: all.length - list.length })),
        !list.length && h("p.empty", {}, text("noAgents")),
      ),
      this.#dialog(),
    ];
  }
}

define("mainstay-agents", Agents);
