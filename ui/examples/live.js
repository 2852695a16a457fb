/** A page of every element, and of what every hook shows, over the runtime that serves it. */
import { toast } from "../src/elements/index.js";
import { connect } from "../src/index.js";

/** @typedef {import("../src/store.js").State} State */

const client = connect();

/**
 * @template {Element} E
 * @param {string} selector
 * @returns {E}
 */
function find(selector) {
  return /** @type {E} */ (document.querySelector(selector));
}

/** @type {Record<string, () => Promise<unknown>>} */
const acts = {
  reconnect: () => client.connection.reconnect(),
  disconnect: () => client.connection.disconnect(),
  missing: () => client.request("GET", "/api/nowhere"),
  cancelled: () => client.request("GET", "/api/search?q=tides", { signal: AbortSignal.abort() }),
  requests: () => Promise.all(Array.from({ length: 10 }, () => client.request("GET", "/api/search?q=tides"))),
};

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("button") : null;
  const act = button?.dataset.act && acts[button.dataset.act];
  if (act) act().catch((error) => toast(error, { retry: act }));
});

/** @type {HTMLSelectElement} */
const choice = find("#agent-conversation select");
const conversation = find("mainstay-agent-conversation");

function choose() {
  conversation.setAttribute("agent", choice.value);
}

choice.addEventListener("change", choose);
client.store.select(
  (state) => Object.keys(state.agents).join("\n"),
  (ids) => {
    const chosen = choice.value;
    choice.replaceChildren(...ids.split("\n").filter(Boolean).map((id) => new Option(id, id)));
    if (ids.split("\n").includes(chosen)) choice.value = chosen;
    choose();
  },
);

const TIDES = "/api/search?q=tides";
/** @typedef {(words: unknown) => void} Show */
/** Shows what a selector returns, now and after each change. @type {<T>(selector: (state: State) => T) => (show: Show) => unknown} */
const selected = (selector) => (show) => {
  show(selector(client.store.getState()));
  client.store.select(selector, show);
};
/** Shows an object as JSON. @param {unknown} value */
const json = (value) => JSON.stringify(value);

async function tides() {
  const kept = await client.cache.get("live:tides");
  if (kept.hit) return kept.value;
  const { body } = await client.request("GET", TIDES);
  await client.cache.put("live:tides", body, { ttlMs: 60_000 });
  return body;
}

/**
 * The hooks: the page of each, and a function that shows the same data without it.
 * @type {Record<string, [page: string, start: (show: Show) => unknown]>}
 */
const HOOKS = {
  useBackendConnection: [
    "connection",
    selected(({ connection }) => connection && `${connection.state}, attempt ${connection.attempt} of ${connection.max}`),
  ],
  useCountdown: [
    "connection",
    selected(({ connection }) => connection?.next_attempt_at ?? "No attempt is planned."),
  ],
  useBackendMessages: ["connection", (show) => client.onFrames((frame) => show("text" in frame ? frame.text : json(frame)))],
  useMessageReducer: [
    "connection",
    (show) => {
      let count = 0;
      client.onFrames(() => show(`${++count} frames`));
    },
  ],
  useSend: ["connection", async (show) => show((await client.sendFrame('{"type":"ping"}')).outcome)],
  useRequest: ["requests", async (show) => show(json((await client.request("GET", TIDES)).body))],
  useQueue: ["requests", selected(({ queue }) => queue && `${queue.running} running, ${queue.waiting} waiting`)],
  useCached: ["requests", async (show) => show(json(await tides()))],
  useAgents: [
    "agents",
    selected(({ agents }) => Object.values(agents).map((agent) => `${agent?.id}: ${agent?.status}`).join("\n")),
  ],
  useAgent: ["agents", selected(({ agents }) => agents.planner && `The planner uses the driver ${agents.planner.driver}.`)],
  useAgentHealth: [
    "agents",
    selected(({ agents: { planner } }) => planner && `${planner.status}, ${planner.next_step}`),
  ],
  useAgentStream: ["agents", (show) => client.agent("planner").listen((item) => show(json(item)), { after: 0 })],
  useFileWatcher: ["streams", (show) => client.onFiles((change) => show(json(change)))],
  useLogs: ["streams", (show) => client.onLog("backend", (item) => show(json(item)), { lines: 1 })],
  useIncidents: [
    "streams",
    async (show) => {
      const { incidents } = await client.command({ type: "incidents", limit: 3 });
      show(incidents.map(({ title }) => title).join("\n") || "There was no incident.");
    },
  ],
  useEvents: [
    "streams",
    (show) => client.onEvents(({ events }) => events.length && show(`${events.at(-1)?.kind} of ${events.at(-1)?.actor}`), { after: "0.0" }),
  ],
  useStore: ["connection", selected(({ status }) => status && `This is run ${status.runtime.run}.`)],
};

for (const [name, [page, start]] of Object.entries(HOOKS)) {
  const link = document.createElement("a");
  const title = document.createElement("dt");
  const value = document.createElement("dd");
  link.href = `../docs/react-${page}.md`;
  link.append(name);
  title.append(link);
  value.id = name;
  find("#hooks dl").append(title, value);
  /** @type {Show} */
  const show = (words) => void (value.textContent = String(words || "nothing yet"));
  show("");
  Promise.resolve(start(show)).catch((error) => show(error.message));
}
