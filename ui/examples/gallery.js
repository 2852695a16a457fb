/**
 * Shows one element in one state: `?element=agents&state=failing&scheme=dark&dir=rtl`. Without a query, all
 * links. The runtime is a mock.
 */
import { connect } from "../src/client.js";
import { toast } from "../src/elements/all.js";
import { createMock } from "../src/transports/mock.js";
import { journal, STATES } from "./gallery-states.js";

const query = new URLSearchParams(location.search);
const root = document.documentElement;
const main = /** @type {HTMLElement} */ (document.querySelector("main"));
const frame = () => new Promise(requestAnimationFrame);

/** Shows links to every state. */
function showIndex() {
  const nav = document.createElement("nav");
  for (const [element, states] of Object.entries(STATES)) {
    for (const state of Object.keys(states)) {
      const link = document.createElement("a");
      link.href = `?element=${element}&state=${state}`;
      link.textContent = `${element}: ${state}`;
      nav.append(link, document.createElement("br"));
    }
  }
  main.append(nav);
}

/**
 * Waits until the client's state is as wanted.
 * @param {import("../src/client.js").Client} client
 * @param {(state: import("../src/store.js").State) => boolean} isWanted
 */
async function until(client, isWanted) {
  while (!isWanted(client.store.getState())) await frame();
}

/**
 * Clicks what has a text, or matches a selector.
 * @param {ShadowRoot} shadow
 * @param {string} what
 */
async function click(shadow, what) {
  const find = () =>
    what.startsWith(".")
      ? shadow.querySelector(what)
      : [...shadow.querySelectorAll("button, summary")].find((node) => node.textContent === what);
  while (!find()) await frame();
  /** @type {HTMLElement} */ (find()).click();
}

/**
 * @param {string} name
 * @param {import("./gallery-states.js").GalleryState} state
 */
async function show(
  name,
  { connection, queue, agents, list, retry, updates, events, toasts, isLost, attributes, heals, click: what },
) {
  const mock = createMock({ agents: agents ?? [{ id: "planner" }, { id: "coder" }], keepEvents: 200_000 });
  if (list) mock.on("requests.show", () => list);
  mock.setStatus(
    /** @type {Parameters<typeof mock.setStatus>[0]} */ ({
      ...(connection && { connection }),
      ...(queue && { queue }),
    }),
  );
  mock.pushEvents(journal(events ?? 0));
  for (const update of updates ?? []) mock.agentUpdate("planner", update);
  const client = connect({ mock });
  Object.assign(globalThis, { mock, client, toast });
  await until(client, (state) => state.isLive);
  const element = document.createElement(`mainstay-${name}`);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  if (name === "agent-conversation") element.setAttribute("agent", "planner");
  main.append(element);
  for (const [error, options] of toasts ?? []) toast(error, { duration: 600_000, ...options });
  if (retry)
    mock.pushEvent({
      kind: "request_retry",
      actor: "root/queue",
      fields: { request_id: 18, delay_ms: retry, reason: "timed_out" },
    });
  if (isLost) mock.drop({ refuse: Infinity });
  if (isLost) await until(client, (state) => state.session.attempt > 2);
  if (heals)
    mock.setStatus({ connection: { state: "connected", attempt: 1, next_attempt_in_ms: null, error: null } });
  for (let frames = 0; frames < 4; frames++) await frame();
  if (what) await click(/** @type {ShadowRoot} */ (element.shadowRoot), what);
  for (let frames = 0; frames < 4; frames++) await frame();
}

root.dataset.scheme = query.get("scheme") ?? "";
root.dir = query.get("dir") ?? "ltr";
const element = query.get("element");
const state = STATES[element ?? ""]?.[query.get("state") ?? ""];
if (state) await show(/** @type {string} */ (element), state);
else showIndex();
root.dataset.ready = "";
