/**
 * The commands about one actor, and `<dash-actions path="…">`: their buttons, a question before what ends work, and the
 * outcome.
 *
 * @typedef {import("../src/client.js").Client} Client
 * @typedef {import("../src/store.js").State} State
 * @typedef {{ name: string, does: () => Promise<unknown>, sure?: string }} Command
 */
import { actionsOf } from "../src/elements/agents.js";
import { button, define, h, MainstayElement } from "../src/elements/base.js";
import { toast } from "../src/elements/error-toast.js";
import { more } from "../src/elements/more.js";
import { text } from "./texts.js";

/** Returns the id of the agent at a path; null if it is another actor. @param {string} path */
export const agentIdOf = (path) => /^root\/agents\/(.+)$/.exec(path)?.[1] ?? null;

/**
 * Returns the commands that make sense for an actor in its state.
 * @param {Client} client
 * @param {State} state
 * @param {string} path
 * @returns {Command[]}
 */
export function commandsOf(client, { agents, backend, connection }, path) {
  const id = agentIdOf(path);
  const agent = id ? agents[id] : null;
  if (id && agent) {
    const acts = client.agent(id);
    return [...actionsOf(agent), ...(agent.gave_up ? [] : /** @type {const} */ (["reset"]))].map((name) => ({
      name,
      does: acts[name],
      sure:
        name === "stop"
          ? text("sure-stop", { name: id })
          : name === "restart" && agent.messages_in_flight
            ? text("sure-restart", { n: agent.messages_in_flight })
            : undefined,
    }));
  }
  if (path === "root/backend" && backend) {
    const names = backend.gave_up ? ["reset"] : backend.status === "stopped" ? ["start"] : ["restart", "stop", "reset"];
    /** @type {Record<string, string>} */
    const sure = { stop: text("sure-stop", { name: text("theBackend") }), restart: text("sure-restart-backend") };
    return names.map((name) => ({
      name,
      does: client.backend[/** @type {"reset"} */ (name)],
      sure: sure[name],
    }));
  }
  if (path === "root/connection")
    return [
      { name: "reconnect", does: client.connection.reconnect },
      ...(connection?.state === "disconnected"
        ? []
        : [{ name: "disconnect", does: client.connection.disconnect, sure: text("sure-disconnect") }]),
    ];
  if (path === "root/cache")
    return [{ name: "clear", does: () => client.cache.invalidate({ all: true }), sure: text("sure-clear") }];
  return [];
}

/**
 * Returns what the reply says of the actor after a command.
 * @param {{ status?: string, state?: string } | number | null} reply
 */
function outcomeOf(reply) {
  if (typeof reply === "number") return text("entriesGone", { n: reply });
  if (reply?.status) return text(reply.status);
  return reply?.state ? text(`connection-${reply.state}`) : "";
}

export class DashActions extends MainstayElement {
  static css = `${more}
:host{display:block}.acts{gap:.5em}.outcome{margin-top:.5em;color:var(--g);min-height:1.4em}
dialog{color:inherit;padding:1.3em;margin:auto;width:min(26rem,100% - 2rem)}p{margin:.5em 0 1.2em}
::backdrop{background:rgb(0 0 0/.4)}dialog .row{justify-content:end}.risk{background:var(--e)}
.none{color:var(--s);margin:0}
`;
  static observedAttributes = ["path"];
  #busy = "";
  #outcome = "";
  /** @type {Command | null} */
  #asked = null;

  /** @override @param {State} state */
  select({ agents, backend, connection, isLive }) {
    return [agents, backend, connection, isLive];
  }

  /** @override */
  attributeChangedCallback() {
    this.#outcome = "";
    super.attributeChangedCallback();
  }

  get #path() {
    return this.getAttribute("path") ?? "";
  }

  /** @param {Command} command */
  #ask(command) {
    if (!command.sure) return this.#act(command);
    this.#asked = command;
    this.refresh();
    const dialog = /** @type {HTMLDialogElement} */ (this.find("dialog"));
    dialog.returnValue = "";
    dialog.showModal();
  }

  /** @param {Command} command */
  async #act(command) {
    const path = this.#path;
    const action = text(`act-${command.name}`);
    this.#busy = command.name;
    this.#outcome = "";
    this.refresh();
    try {
      const reply = /** @type {Parameters<typeof outcomeOf>[0]} */ (await command.does());
      const time = new Date().toLocaleTimeString([], { timeStyle: "medium" });
      if (path === this.#path) this.#outcome = text("outcome", { action, time, state: outcomeOf(reply) });
    } catch (error) {
      toast(error, { title: `${action}: ${path}`, retry: () => this.#act(command) });
    }
    this.#busy = "";
    this.refresh();
  }

  /** @override */
  view() {
    const name = this.#path.slice(this.#path.lastIndexOf("/") + 1);
    const commands = commandsOf(this.client, this.state, this.#path);
    const asked = this.#asked;
    const action = asked ? text(`act-${asked.name}`) : "";
    return [
      commands.length
        ? h(
            ".acts row wrap",
            { key: "acts" },
            commands.map((command) =>
              button(`act ${command.name}`, text(`act-${command.name}`), () => this.#ask(command), {
                key: command.name,
                isBusy: this.#busy === command.name,
                isOff: !!this.#busy || !this.state.isLive,
                name: `${text(`act-${command.name}`)}: ${name}`,
              }),
            ),
          )
        : h("p.none", { key: "none" }, text("noActions")),
      h(".outcome", { key: "outcome", role: "status" }, this.#outcome),
      h(
        "dialog.card raised",
        {
          key: "dialog",
          "aria-labelledby": "q",
          onclose: (/** @type {Event} */ { target }) => {
            if (asked && /** @type {HTMLDialogElement} */ (target).returnValue) void this.#act(asked);
          },
        },
        h(
          "form",
          { method: "dialog" },
          h("h2", { id: "q" }, text("sure", { action, name })),
          h("p.soft", {}, asked?.sure ?? ""),
          h(
            ".row",
            {},
            h("button.button cancel", { value: "", autofocus: true }, text("keepIt")),
            h("button.button main risk", { value: "yes" }, action),
          ),
        ),
      ),
    ];
  }
}

define("dash-actions", DashActions);
