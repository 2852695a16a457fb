/** `<dash-talk>`: the conversation with one agent, chosen from a list. */
import { define, h, MainstayElement } from "../src/elements/base.js";
import { more } from "../src/elements/more.js";
import { go, onRoute, readRoute } from "./route.js";
import { text } from "./texts.js";

/** The list of agents has at most so many; the page of an actor has every conversation. */
const CHOICES_MAX = 200;

/** @type {string[]} */
let known = [];

/**
 * Returns the ids of the agents, and the same list while they are the same.
 * @param {import("../src/store.js").State} state
 */
export function idsOf({ agents }) {
  const ids = Object.keys(agents);
  if (ids.length !== known.length || ids.some((id, index) => id !== known[index])) known = ids;
  return known;
}

/**
 * Returns the ids to choose from.
 * @param {string[]} ids
 * @param {string} chosen
 */
export const firstIds = (ids, chosen) => [...new Set([...ids.slice(0, CHOICES_MAX), chosen])];

export class DashTalk extends MainstayElement {
  static css = `${more}
.choice{display:flex;gap:.6em;align-items:center;margin-bottom:.6em}select{min-width:9em}
`;
  #chosen = "";

  /** @override @param {import("../src/store.js").State} state */
  select(state) {
    return [idsOf(state), !state.status];
  }

  /** @override */
  start() {
    super.start();
    onRoute(() => {
      this.#chosen = readRoute().get("agent") ?? this.#chosen;
      this.refresh();
    });
  }

  /** Shows an agent, and brings its conversation into sight. @param {string} id */
  show(id) {
    go({ agent: id });
    this.scrollIntoView({ block: "center" });
    const conversation = this.find("mainstay-agent-conversation");
    requestAnimationFrame(() => {
      const field = conversation?.shadowRoot?.querySelector("button.main, textarea, input");
      /** @type {HTMLElement | null | undefined} */ (field)?.focus();
    });
  }

  /** @override */
  view() {
    const ids = idsOf(this.state);
    if (!this.state.status) return [];
    if (!ids.length) return [h("p.card empty", {}, text("noAgentsYet"))];
    const id = ids.includes(this.#chosen) ? this.#chosen : ids[0];
    return [
      h(
        "label.choice",
        {},
        h("span.soft", {}, text("talkTo")),
        h(
          "select.field",
          { value: id, onchange: (/** @type {Event} */ { target }) => go({ agent: /** @type {HTMLSelectElement} */ (target).value }) },
          firstIds(ids, id).map((each) => h("option", { key: each, value: each }, each)),
        ),
      ),
      h("mainstay-agent-conversation", { key: `talk ${id}`, agent: id }),
    ];
  }
}

define("dash-talk", DashTalk);
