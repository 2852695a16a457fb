/**
 * The elements. `<mainstay-connection-status>` and `toast` are there at once: they are needed when contact is
 * lost. The module of another element is loaded when that is first in the page. In a shadow tree
 * `loadElements(root)` does it; `all.js` loads all at once.
 */
import { toast } from "./error-toast.js";

export { ConnectionStatus } from "./connection-status.js";
export { ErrorToast, toast } from "./error-toast.js";
export { setText } from "./text.js";

/** @type {Record<string, () => Promise<unknown>>} */
const MODULES = {
  "mainstay-agents": () => import("./agents.js"),
  "mainstay-agent-conversation": () => import("./agent-conversation.js"),
  "mainstay-requests": () => import("./requests.js"),
  "mainstay-events": () => import("./events.js"),
  "mainstay-devtools": () => import("./devtools.js"),
  "mainstay-incidents": () => import("./incidents.js"),
  "mainstay-timeline": () => import("./timeline.js"),
  "mainstay-tree": () => import("./tree.js"),
};

/**
 * Loads the modules of the elements in a document, an element or a shadow tree.
 * @param {ParentNode} root
 */
export async function loadElements(root) {
  const isThere = (/** @type {string} */ name) =>
    !customElements.get(name) &&
    ((root instanceof Element && root.matches(name)) || root.querySelector(name));
  await Promise.all(
    Object.keys(MODULES)
      .filter(isThere)
      .map((name) => MODULES[name]()),
  );
}

if (globalThis.document) {
  const load = (/** @type {ParentNode} */ root) => void loadElements(root).catch(toast);
  new MutationObserver((records) => {
    for (const node of records.flatMap(({ addedNodes }) => [...addedNodes]))
      if (node instanceof Element) load(node);
  }).observe(document, { childList: true, subtree: true });
  load(document);
}
