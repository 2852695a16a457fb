/**
 * `<dash-faults>`: breaks the backend of the running demo, as `mainstay demo crash` and its like do: by requests to its
 * endpoint for faults. It is there only if the runtime says that it is the demo.
 *
 * @typedef {import("../src/client.js").Client} Client
 */
import { button, define, h, MainstayElement } from "../src/elements/base.js";
import { toast } from "../src/elements/error-toast.js";
import { more } from "../src/elements/more.js";
import { firstIds, idsOf } from "./talk.js";
import { text } from "./texts.js";

const FAULT_PATH = "/_fault";
const WAIT_MS = 10_000;
const FLOOD = 60;
/** How long the agent is watched until it is given up. */
const DIE_MS = 180_000;

/**
 * @param {Client} client
 * @param {Record<string, unknown>} fault
 */
const inject = (client, fault) =>
  client.request("POST", FAULT_PATH, { body: fault, priority: "high", timeoutMs: WAIT_MS, waitTimeoutMs: WAIT_MS, retries: 0 });

/** Sends many requests, which all end. @param {Client} client */
function flood(client) {
  const one = (/** @type {number} */ n) => client.request("GET", `/api/search?q=tides&n=${n}`, { priority: n % 3 ? "normal" : "low" });
  return Promise.allSettled(Array.from({ length: FLOOD }, (_, n) => one(n)));
}

/**
 * Crashes an agent each time that it is healthy, until it is given up.
 * @param {Client} client
 * @param {string} agent
 */
async function die(client, agent) {
  const until = Date.now() + DIE_MS;
  await inject(client, { kind: "crash_agent", agent });
  let generation = client.store.getState().agents[agent]?.generation;
  const stop = client.store.subscribe(() => {
    const view = client.store.getState().agents[agent];
    if (!view || view.gave_up || view.status === "stopped" || Date.now() > until) return stop();
    if (view.generation === generation || view.restart_at) return;
    generation = view.generation;
    inject(client, { kind: "crash_agent", agent }).catch(() => {});
  });
}

/** @type {Record<string, (client: Client, agent: string) => Promise<unknown>>} */
export const FAULTS = {
  crash: (client, agent) => inject(client, { kind: "crash_agent", agent }),
  hang: (client, agent) => inject(client, { kind: "hang_agent", agent }),
  flood: async (client) => void flood(client),
  drop: (client) => inject(client, { kind: "drop_ws" }),
  half: (client) => inject(client, { kind: "half_open_ws", for_ms: 30_000 }),
  status: async (client) => {
    await inject(client, { kind: "status", path: "/api/search", status: 503, times: 6 });
    void flood(client);
  },
  slow: async (client) => {
    await inject(client, { kind: "slow", path: "/api", ms: 2000, times: 10 });
    void flood(client);
  },
  die,
  heal: (client, agent) => inject(client, { kind: "heal_agent", agent }),
};
/** The faults of an agent, which the choice concerns. */
const OF_AGENT = new Set(["crash", "hang", "die", "heal"]);

export class DashFaults extends MainstayElement {
  static css = `${more}
:host{position:sticky;bottom:0;z-index:15}
.dock{display:flex;flex-wrap:wrap;align-items:center;gap:.5em .9em;padding:.6em clamp(.9rem,2vw,1.6rem);background:var(--b);
border-top:1px solid var(--l);box-shadow:0 -6px 24px rgb(0 0 0/.09)}
.title{font-weight:650;border:0;background:none;padding:.2em 0;display:flex;gap:.5em;align-items:center}
.title::before{content:"";width:.4em;height:.4em;border:solid currentcolor;border-width:1.6px 0 0 1.6px;rotate:45deg;
translate:0 .12em}
.shut .title::before{rotate:225deg;translate:0 -.12em}
.set{display:flex;flex-wrap:wrap;gap:.4em;align-items:center}
.gap{width:1px;align-self:stretch;background:var(--l)}
.fault.die,.fault.crash{border-color:color-mix(in srgb,var(--e) 55%,var(--l))}
.said{flex:1 1 14em;color:var(--s);font-size:.9em;line-height:1.3;min-width:0}
select{padding:.25em .5em}
@media(max-width:700px){.gap{display:none}.set{flex:1 1 100%}.said{flex-basis:100%}.shut .said{flex:1 1 0}}
`;
  #agent = "";
  #isShut = matchMedia("(max-width: 700px)").matches;
  #busy = "";
  #said = "";

  /** @override @param {import("../src/store.js").State} state */
  select(state) {
    return [idsOf(state), state.isLive];
  }

  /** The agent that faults hit. */
  get agent() {
    const ids = idsOf(this.state);
    return ids.includes(this.#agent) ? this.#agent : (ids[0] ?? "");
  }

  /** Breaks something. @param {string} name */
  async inject(name) {
    this.#busy = name;
    this.refresh();
    try {
      await FAULTS[name](this.client, this.agent);
      const fault = text(`fault-${name}`);
      this.#said = text("faultDone", { fault: OF_AGENT.has(name) ? `${fault} ${this.agent}` : fault, hint: text(`faultHint-${name}`) });
    } catch (error) {
      toast(error, { title: text(`fault-${name}`), retry: () => this.inject(name) });
    }
    this.#busy = "";
    this.refresh();
  }

  /** @param {string} name */
  #button(name) {
    return button(`fault ${name}`, text(`fault-${name}`), () => this.inject(name), {
      key: name,
      isBusy: this.#busy === name,
      isOff: !!this.#busy || !this.state.isLive,
      name: OF_AGENT.has(name) ? `${text(`fault-${name}`)}: ${this.agent}` : undefined,
    });
  }

  /** @override */
  view() {
    const ids = idsOf(this.state);
    const names = Object.keys(FAULTS);
    return [
      h(
        `.dock ${this.#isShut ? "shut" : ""}`,
        { role: "region", "aria-label": text("faults") },
        h(
          "button.title",
          {
            type: "button",
            "aria-expanded": String(!this.#isShut),
            onclick: () => {
              this.#isShut = !this.#isShut;
              this.refresh();
            },
          },
          text("faults"),
        ),
        !this.#isShut &&
          h(
            ".set",
            { key: "agent" },
            h(
              "select.field",
              {
                key: "choice",
                value: this.agent,
                "aria-label": text("faultTarget"),
                onchange: (/** @type {Event} */ { target }) => {
                  this.#agent = /** @type {HTMLSelectElement} */ (target).value;
                  this.refresh();
                },
              },
              firstIds(ids, this.agent).map((id) => h("option", { key: id, value: id }, id)),
            ),
            names.filter((name) => OF_AGENT.has(name)).map((name) => this.#button(name)),
          ),
        !this.#isShut && h("span.gap", { key: "gap" }),
        !this.#isShut &&
          h(
            ".set",
            { key: "all" },
            names.filter((name) => !OF_AGENT.has(name)).map((name) => this.#button(name)),
          ),
        h("span.said", { key: "said", role: "status" }, this.#said || (this.#isShut ? "" : text("faultsHint"))),
        button("tour", text("tour"), () =>
          this.dispatchEvent(new CustomEvent("dash-tour", { bubbles: true, composed: true })),
        ),
      ),
    ];
  }
}

define("dash-faults", DashFaults);
