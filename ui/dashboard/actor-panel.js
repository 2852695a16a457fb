/**
 * `<dash-actor>`: the page of one actor beside the dashboard: state, incidents, history, messages, log and commands. It opens
 * with `#actor=PATH`, and closes with Escape.
 *
 * @typedef {import("../src/elements/tree-rows.js").ActorNode} ActorNode
 */
import { button, define, h, MainstayElement } from "../src/elements/base.js";
import { more } from "../src/elements/more.js";
import { spanText } from "../src/elements/time-axis.js";
import { sizeText } from "../src/elements/tree.js";
import { agentIdOf } from "./actor-actions.js";
import { facts, factsCss, timeOf } from "./facts.js";
import "./log-view.js";
import { go, incidentLink, onRoute, readRoute } from "./route.js";
import { text } from "./texts.js";

const TABS = /** @type {const} */ (["state", "incidents", "events", "messages", "logs"]);
/** @typedef {typeof TABS[number]} Tab */

/**
 * Returns the node at a path.
 * @param {ActorNode | null} node
 * @param {string} path
 * @returns {ActorNode | null}
 */
function nodeAt(node, path) {
  if (!node || node.path === path) return node;
  const next = node.children.find((child) => path === child.path || path.startsWith(`${child.path}/`));
  return next ? nodeAt(next, path) : null;
}

export class DashActor extends MainstayElement {
  static css = `${more}${factsCss}
:host{position:fixed;inset:0 0 0 auto;width:min(36rem,100%);z-index:30}
:host(:not([open])){display:none}
.panel{height:100%;display:flex;flex-direction:column;background:var(--b);border-inline-start:1px solid var(--l);
box-shadow:-12px 0 40px rgb(0 0 0/.18);--mainstay-height:100%}
.top{display:flex;align-items:start;gap:.8em;padding:1em 1.1em .6em}
h2{font-size:1.3em;font-weight:650;line-height:1.2}h2:focus-visible{outline:none}.path{color:var(--s);overflow-wrap:anywhere}
.tabs{display:flex;gap:.1em;padding:0 .8em;border-bottom:1px solid var(--l);overflow-x:auto}
.tab{border:0;border-radius:0;background:none;padding:.6em .65em;color:var(--s);border-bottom:2px solid transparent}
.tab[aria-selected=true]{color:var(--t);border-bottom-color:var(--a);font-weight:600}
.tab:focus-visible{outline-offset:-2px}
.content{flex:1;min-height:0;overflow:auto;padding:1em 1.1em;display:flex;flex-direction:column;gap:1em}
.content>mainstay-events,.content>mainstay-agent-conversation,.content>dash-log{flex:1;min-height:16rem}
.content>mainstay-events::part(tall),.content>mainstay-agent-conversation::part(tall){height:100%}
pre{background:var(--h);padding:.7em .9em;border-radius:6px}
@media(max-width:640px){:host{width:100%}.panel{border:0}}
`;
  /** @type {Tab} */
  #tab = "state";
  #path = "";

  /** @override @param {import("../src/store.js").State} state */
  select({ tree, agents, backend, isLive }) {
    return [tree, agents, backend, isLive];
  }

  /** @override */
  start() {
    super.start();
    this.listen(this, "keydown", (/** @type {KeyboardEvent} */ event) => {
      const isInDialog = event.composedPath().some((node) => node instanceof HTMLDialogElement);
      if (event.key !== "Escape" || event.defaultPrevented || isInDialog) return;
      event.stopPropagation();
      this.close();
    });
    onRoute(() => this.#follow());
  }

  #follow() {
    const path = readRoute().get("actor") ?? "";
    if (path === this.#path) return;
    const wasOpen = this.#path !== "";
    this.#path = path;
    this.toggleAttribute("open", path !== "");
    for (const tree of document.querySelectorAll("mainstay-tree"))
      if (path) tree.setAttribute("current", path);
      else tree.removeAttribute("current");
    if (!wasOpen || !this.#tabs().includes(this.#tab)) this.#tab = "state";
    this.refresh();
    if (path) this.find("h2").focus({ preventScroll: true });
    else if (wasOpen) this.#giveBack();
  }

  /** Gives the focus back to the tree. */
  #giveBack() {
    const tree = document.querySelector("mainstay-tree")?.shadowRoot?.querySelector('[role="tree"]');
    /** @type {HTMLElement | null | undefined} */ (tree)?.focus({ preventScroll: true });
  }

  close() {
    go({ actor: null });
  }

  /** Returns the tabs that an actor has. @returns {readonly Tab[]} */
  #tabs() {
    if (agentIdOf(this.#path)) return TABS;
    return TABS.filter((tab) => tab !== "messages" && (tab !== "logs" || this.#path === "root/backend"));
  }

  /** @param {KeyboardEvent} event */
  #tabKey(event) {
    const tabs = this.#tabs();
    const at = tabs.indexOf(this.#tab);
    /** @type {Record<string, number>} */
    const targets = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 };
    if (!(event.key in targets)) return;
    event.preventDefault();
    this.#tab = tabs[(targets[event.key] + tabs.length) % tabs.length];
    this.refresh();
    this.find('[aria-selected="true"]').focus();
  }

  /** @param {ActorNode} node */
  #facts(node) {
    const { agents, backend, isLive } = this.state;
    const id = agentIdOf(this.#path);
    const agent = id ? agents[id] : null;
    const own = this.#path === "root/backend" ? backend : null;
    const view = agent ?? own;
    const budget = view?.budget;
    const process = agent?.process;
    const left = node.budget_left;
    const status = node.status === "failed" ? text("givenUp") : text(agent && node.status === "running" ? agent.status : node.status);
    return facts([
      ["fact-status", isLive ? status : `${status} · ${text("old")}`],
      ["fact-since", timeOf(node.since)],
      ["fact-restart_at", node.restart_at && this.when(agent?.restartAtMs ?? Date.parse(node.restart_at))],
      ["fact-next", node.next_step ?? view?.next_step],
      ["fact-generation", String(node.generation)],
      ["fact-restarts", String(node.restarts)],
      [
        "fact-budget",
        left == null
          ? text("noLimit")
          : budget
            ? text("fact-window", { n: left, max: budget.max, window: spanText(budget.window_ms) })
            : String(left),
        left === 0 ? "bad" : "value",
      ],
      ["fact-mailbox", node.mailbox == null ? null : text("messagesWaiting", { n: node.mailbox })],
      ["fact-memory", process?.memory_bytes ? sizeText(process.memory_bytes) : null],
      ["fact-pid", process?.pid ?? own?.pid],
      ["fact-url", own?.url],
      ["fact-driver", agent?.driver],
      ["fact-check", agent?.last_check && timeOf(agent.last_check)],
      ["fact-misses", agent?.misses ? `${agent.misses} / ${agent.fail_after}` : null, "warn"],
      ["fact-work", agent && text("workOf", { waiting: agent.messages_waiting, running: agent.messages_in_flight })],
      ["fact-kept", agent ? (agent.state_saved_at ? text("keptAt", { time: timeOf(agent.state_saved_at) }) : text("keptNone")) : null],
      ["fact-error", node.last_error, "bad"],
      ["fact-abandoned", node.abandoned || null, "warn"],
    ]);
  }

  /** @param {ActorNode | null} node */
  #content(node) {
    const path = this.#path;
    const id = agentIdOf(path);
    const last = agentIdOf(path) ? this.state.agents[id ?? ""] : path === "root/backend" ? this.state.backend : null;
    const output = last?.output ?? [];
    switch (this.#tab) {
      case "incidents":
        return [h("mainstay-incidents", { key: "incidents", actor: path, share: incidentLink() })];
      case "events":
        return [h("mainstay-events", { key: `events ${path}`, actor: path, history: 5000 })];
      case "messages":
        return [h("mainstay-agent-conversation", { key: `talk ${path}`, agent: id })];
      case "logs":
        return [h("dash-log", { key: "log", log: id ?? "backend" })];
      default:
        return [
          node ? this.#facts(node) : h("p.soft", { key: "unknown" }, text("unknownActor", { path })),
          h("dash-actions", { key: "actions", path }),
          output.length > 0 && h("pre", { key: "output", tabindex: 0 }, output.join("\n")),
        ];
    }
  }

  /** @override */
  view() {
    if (!this.#path) return [];
    const path = this.#path;
    const node = nodeAt(this.state.tree, path);
    const tone = { running: "good", starting: "warn", restarting: "warn", failed: "bad" }[String(node?.status)] ?? "";
    return [
      h(
        ".panel",
        { role: "region", "aria-label": text("actorOf", { path }) },
        h(
          ".top",
          {},
          h(
            ".grow",
            {},
            h(`.row ${tone}`, {}, h("span.mark"), h("h2", { tabindex: -1 }, path.slice(path.lastIndexOf("/") + 1))),
            h(".path", {}, path),
          ),
          button("close", text("closePanel"), () => this.close(), { key: "close" }),
        ),
        h(
          ".tabs",
          { role: "tablist", onkeydown: (/** @type {KeyboardEvent} */ event) => this.#tabKey(event) },
          this.#tabs().map((tab) =>
            h(
              "button.tab",
              {
                key: tab,
                type: "button",
                role: "tab",
                id: `t-${tab}`,
                "aria-controls": "content",
                "aria-selected": String(tab === this.#tab),
                tabindex: tab === this.#tab ? 0 : -1,
                onclick: () => {
                  this.#tab = tab;
                  this.refresh();
                },
              },
              text(`tab-${tab}`),
            ),
          ),
        ),
        h(
          ".content",
          { key: "content", id: "content", role: "tabpanel", "aria-labelledby": `t-${this.#tab}`, tabindex: 0 },
          this.#content(node),
        ),
      ),
    ];
  }
}

define("dash-actor", DashActor);
