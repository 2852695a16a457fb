/** The modules of the elements that are not there at once. */

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
export async function load(root) {
  const isThere = (/** @type {string} */ name) =>
    !customElements.get(name) &&
    ((root instanceof Element && root.matches(name)) || root.querySelector(name));
  await Promise.all(
    Object.keys(MODULES)
      .filter(isThere)
      .map((name) => MODULES[name]()),
  );
}
