/** A page of every element over the runtime that serves it. */
import { toast } from "../src/elements/index.js";
import { connect } from "../src/index.js";

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
