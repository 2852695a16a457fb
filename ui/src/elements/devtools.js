/**
 * `<mainstay-devtools>`: what the page knows of its runtime, for those who build the page. It shows the session,
 * the whole state as JSON, agents, requests and events, one at a time.
 */
import "./agents.js";
import "./events.js";
import "./requests.js";
import { button, define, h, MainstayElement } from "./base.js";
import { messageOf, more, text } from "./more.js";

const VIEWS = /** @type {const} */ (["state", "agents", "requests", "events"]);

export class Devtools extends MainstayElement {
  static css = `${more}
.json{max-height:var(--mainstay-height,26rem);padding:.9em}.body{padding:.9em}
[aria-pressed=true]{border-color:var(--a);color:var(--a)}
`;
  /** @type {(typeof VIEWS)[number]} */
  #shown = "state";

  /** Returns the facts about the session, in a line. */
  #facts() {
    const { session, status, connection } = this.state;
    const { runtime } = status ?? {};
    return [
      `session ${session.state}, ${text("tries", { n: session.attempt })}`,
      runtime && `run ${runtime.run}, seq ${runtime.seq}, pid ${runtime.pid}`,
      connection && `backend ${connection.state}`,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  /** @override */
  view() {
    const { isLive, session } = this.state;
    return [
      h(
        `.card ${isLive ? "" : "old"}`,
        { role: "group", "aria-label": text("devtools") },
        h(
          `.head row wrap ${isLive ? "good" : "warn"}`,
          {},
          h("span.mark"),
          h("span.grow num", {}, this.#facts()),
          !isLive && session.nextAttemptAt != null && h("span.note num", {}, this.when(session.nextAttemptAt)),
          VIEWS.map((name) =>
            button("view", text(name), () => this.#show(name), {
              key: name,
              isPressed: name === this.#shown,
            }),
          ),
        ),
        session.error && h(".head error", {}, messageOf(session.error)),
        this.#shown === "state"
          ? h("pre.json", { tabindex: 0, "aria-label": text("state") }, JSON.stringify(this.state, null, 2))
          : h(
              ".body",
              { key: this.#shown },
              h(`mainstay-${this.#shown}`, { client: this.client, readonly: this.#shown === "agents" }),
            ),
      ),
    ];
  }

  /** @param {(typeof VIEWS)[number]} name */
  #show(name) {
    this.#shown = name;
    this.refresh();
  }
}

define("mainstay-devtools", Devtools);
